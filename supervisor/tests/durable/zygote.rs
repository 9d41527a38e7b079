//! This program is executed again as the zygote, whose life has to begin before that of the test harness.

#![expect(unsafe_code, reason = "a function that runs before main")]

use remex_supervisor::process;

#[used]
// SAFETY: a function of the type that such a section holds; the standard library's own comes before it.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == "remexd: zygote")
    {
        // It does not return.
        let _ = process::prepare();
    }
}
