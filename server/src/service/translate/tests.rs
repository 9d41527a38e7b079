//! The bounds of fields that no test of a whole call meets at their very value.

use super::*;

fn lasting(seconds: i64, nanos: i32) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos }
}

/// Whether each is taken, in order.
fn taken<T, V>(check: impl Fn(V) -> Checked<T>, values: impl IntoIterator<Item = V>) -> Vec<bool> {
    values
        .into_iter()
        .map(|value| match check(value) {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(Reason::of(&status), Some(Reason::InvalidField), "{status}");
                false
            }
        })
        .collect()
}

#[test]
fn a_keepalive_is_no_shorter_than_100_ms() {
    let intervals = [lasting(0, 99_999_999), lasting(0, 100_000_000)];
    let is_taken = taken(keepalive, intervals.map(Some));
    assert_eq!(is_taken, [false, true]);
    assert_eq!(keepalive(None).unwrap(), None);
}

#[test]
fn a_kill_comes_2_s_after_the_term_and_a_minute_at_most() {
    assert_eq!(kill_after(None).unwrap(), Duration::from_secs(2));
    let times = [lasting(60, 0), lasting(60, 1)];
    assert_eq!(taken(kill_after, times.map(Some)), [true, false]);
}

#[test]
fn a_start_that_the_kernel_holds_is_given_up_after_10_s() {
    assert_eq!(remex_supervisor::process::SPAWN_BOUND.as_secs(), 10);
}

#[test]
fn a_window_has_at_most_65535_rows_and_columns() {
    let sizes = [(65_535, 65_535), (65_536, 1), (1, 65_536)];
    let is_taken = taken(|(rows, columns)| window_size(rows, columns), sizes);
    assert_eq!(is_taken, [true, false, false]);
}

#[test]
fn niceness_is_that_of_the_kernel() {
    let nice = |niceness| {
        limits(v1::Limits {
            niceness: Some(niceness),
            ..v1::Limits::default()
        })
    };
    let is_taken = taken(nice, [-21, -20, 19, 20]);
    assert_eq!(is_taken, [false, true, true, false]);
}

#[test]
fn signals_are_1_to_64() {
    let is_taken = taken(|number| signal("signal", number), [0, 1, 64, 65]);
    assert_eq!(is_taken, [false, true, true, false]);
}

#[test]
fn output_in_one_answer_is_1_mib_or_up_to_16() {
    const MIB: u64 = 1_048_576;
    assert_eq!(output_cap(0).unwrap() as u64, MIB);
    let is_taken = taken(output_cap, [1, 16 * MIB, 16 * MIB + 1, u64::MAX]);
    assert_eq!(is_taken, [true, true, false, false]);
}
