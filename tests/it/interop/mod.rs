//! The client of each language, as a person starts it, against a real remexd: languages times scenarios, a test each.
//! A new language is a line of [`Language::of`] and of the matrix below; a new scenario is a function, and its name.

mod calls;
mod durable;
mod ends;
mod language;
mod streams;
mod trust;

/// The tests of one language, each of which is skipped, or fails in CI, where the machine lacks its toolchain.
macro_rules! scenarios {
    ($language:ident: $($module:ident::$scenario:ident)*) => {
        mod $language {
            $(
                #[tokio::test]
                async fn $scenario() {
                    let name = stringify!($language);
                    let language = skip_unless!(super::language::Language::of(name));
                    super::$module::$scenario(&language).await;
                }
            )*
        }
    };
}

macro_rules! matrix {
    ($($language:ident)*) => {
        $(
            scenarios! {
                $language:
                streams::what_a_local_shell_gives
                streams::megabytes_of_bytes_on_both_streams
                streams::megabytes_of_stdin
                streams::output_and_stdin_flow_at_once
                streams::a_terminal_and_its_size
                ends::a_real_time_signal
                ends::a_signal_is_passed_on
                ends::a_timeout
                ends::breaking_off_ends_the_whole_tree
                ends::a_client_that_is_killed_takes_its_tree_along
                ends::the_server_shuts_down
                durable::another_goes_on_at_the_exact_byte_of_output_and_stdin
                calls::refusals_have_their_reasons
                calls::another_user
                calls::answers_above_4_mib
                calls::requests_above_4_mib
                calls::compressed_requests
                calls::over_a_unix_socket
                calls::denied_by_the_policy
                trust::a_token_over_tls
                trust::certificates
                trust::no_token_goes_unencrypted
            }
        )*
    };
}

matrix! { python go typescript java cpp rust }
