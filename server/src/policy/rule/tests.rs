//! What the model shares with the rules, and so cannot tell.

use super::{base_name, is_plain};

#[test]
fn a_plain_path_is_one_way_alone() {
    for (path, expected) in [
        ("/a", true),
        ("/a/b", true),
        ("/.a", true),
        ("/..a", true),
        ("/a..", true),
        ("", false),
        ("/", false),
        ("a", false),
        ("a/b", false),
        ("//a", false),
        ("/a/", false),
        ("/a//b", false),
        ("/.", false),
        ("/./a", false),
        ("/a/.", false),
        ("/..", false),
        ("/../a", false),
        ("/a/../b", false),
    ] {
        assert_eq!(is_plain(path.as_bytes()), expected, "{path:?}");
    }
}

#[test]
fn a_base_name_is_what_is_behind_the_last_slash() {
    for (path, expected) in [
        ("/a/b", "b"),
        ("b", "b"),
        ("/b", "b"),
        ("/a/", ""),
        ("", ""),
    ] {
        assert_eq!(base_name(path.as_bytes()), expected.as_bytes(), "{path:?}");
    }
}
