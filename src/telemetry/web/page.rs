//! The status page: one file with its style and its script in it.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// The page. It fetches `/status` and needs nothing else.
pub const HTML: &str = include_str!("page.html");

/// What a browser may do with the page: run its own script and style, by their hashes, and ask this server.
pub fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; form-action \
             'none'; frame-ancestors 'none'",
            hash_of("script"),
            hash_of("style")
        )
    });
    &POLICY
}

/// The hash of the text between the tags of that name, as a policy has it.
fn hash_of(tag: &str) -> String {
    let begins = format!("<{tag}>");
    let ends = format!("</{tag}>");
    let text = HTML
        .split_once(&begins)
        .and_then(|(_, rest)| rest.split_once(&ends));
    let digest = Sha256::digest(text.map_or("", |(text, _)| text));
    format!("sha256-{}", STANDARD.encode(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for outside in [
            "http://", "https://", "//cdn", "src=", "href=", "@import", "url(",
        ] {
            assert!(!HTML.contains(outside), "{outside}");
        }
        for tag in ["<script>", "<style>"] {
            assert_eq!(HTML.matches(tag).count(), 1, "{tag}");
        }
        for unsafe_way in [
            "innerHTML",
            "insertAdjacent",
            " style=",
            "onclick",
            "onload",
            "onerror",
        ] {
            assert!(!HTML.contains(unsafe_way), "{unsafe_way}");
        }
    }
}
