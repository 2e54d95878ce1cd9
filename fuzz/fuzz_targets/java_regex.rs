#![no_main]
//! Any pattern over any text: the first line is the pattern. Nothing may panic, and every range lies in the text.

use kinesis_agent::process::java_regex::{GroupFinder, JavaRegex};

/// Longer patterns and texts only make the fuzzer slow.
const BYTES_MAX: usize = 512;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, text) = text.split_once('\n').unwrap_or((&text, ""));
    if pattern.len() + text.len() > BYTES_MAX {
        return;
    }
    let Ok(regex) = JavaRegex::new(pattern) else {
        return;
    };
    let (mut pieces, mut groups) = (Vec::new(), Vec::new());
    if regex.split(text, &mut pieces).is_ok() {
        assert!(pieces.is_sorted_by_key(|piece| piece.start));
    }
    for piece in pieces {
        let _ = &text[piece];
    }
    if regex.matches(text, &mut groups) == Ok(true) {
        assert_eq!(groups.len(), regex.group_count());
        assert_ne!(
            regex.looking_at(text),
            Ok(false),
            "a match begins somewhere"
        );
    }
    for group in groups.into_iter().flatten() {
        let _ = &text[group];
    }
    if let Ok(Some(found)) = GroupFinder::new(pattern).expect("a pattern").find(text) {
        let _ = &text[found];
    }
});
