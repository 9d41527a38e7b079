//! Which boot of the host this is.

use std::{fs, io, sync::OnceLock};

/// As it was read first: no process sees a second boot.
static BOOT: OnceLock<[u8; 16]> = OnceLock::new();

/// The kernel's identity of this boot.
pub fn boot_id() -> io::Result<[u8; 16]> {
    if let Some(id) = BOOT.get() {
        return Ok(*id);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = parse(&text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(*BOOT.get_or_init(|| id))
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u32> = text
        .trim_end()
        .chars()
        .filter(|&character| character != '-')
        .map(|character| character.to_digit(16))
        .collect::<Option<_>>()?;
    let digits: [u32; 32] = digits.try_into().ok()?;
    let byte = |index: usize| u8::try_from(16 * digits[2 * index] + digits[2 * index + 1]);
    let mut id = [0; 16];
    for (index, to) in id.iter_mut().enumerate() {
        *to = byte(index).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_known_by_16_bytes() {
        let id = parse("00112233-4455-6677-8899-aabbccddeeff\n").unwrap();
        assert_eq!(id[..3], [0x00, 0x11, 0x22]);
        assert_eq!(id[15], 0xff);
        for text in [
            "",
            "0011",
            "00112233-4455-6677-8899-aabbccddeeffaa",
            "g0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }
}
