use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};

use super::engine::Matcher;
use super::translate::Use;
use super::{Flags, JavaRegex, PatternError, StepLimit, parse};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn regex(pattern: &str) -> JavaRegex {
    JavaRegex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

fn error(pattern: &str) -> PatternError {
    JavaRegex::new(pattern).expect_err(pattern)
}

fn split<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    regex(pattern).split(text, &mut pieces).expect("few steps");
    pieces.into_iter().map(|piece| &text[piece]).collect()
}

fn matches<'t>(pattern: &str, text: &'t str) -> Option<Vec<Option<&'t str>>> {
    let mut groups = Vec::new();
    let regex = regex(pattern);
    let matched = regex.matches(text, &mut groups).expect("few steps");
    assert_eq!(
        regex.is_full_match(text),
        Ok(matched),
        "{pattern:?} {text:?}"
    );
    matched.then(|| {
        let group = |group: Option<Range<usize>>| group.map(|range| &text[range]);
        groups.into_iter().map(group).collect()
    })
}

/// What `java_regex.jsonl` expects of a row: pieces, groups (`null` for no match), a verdict, or `"error"`.
fn outcome(row: &Value) -> Value {
    let text = row["text"].as_str().expect("text");
    let pattern = row["pattern"].as_str().expect("pattern");
    let flags = Flags {
        multiline: row["flags"] == "m",
    };
    let Ok(regex) = JavaRegex::with_flags(pattern, flags) else {
        return json!("error");
    };
    let mut ranges = Vec::new();
    let mut groups = Vec::new();
    match row["op"].as_str() {
        Some("split") => {
            regex.split(text, &mut ranges).expect("few steps");
            ranges.into_iter().map(|piece| json!(text[piece])).collect()
        }
        Some("matches") => match regex.matches(text, &mut groups).expect("few steps") {
            false => Value::Null,
            true => groups
                .into_iter()
                .map(|group| group.map_or(Value::Null, |range| json!(text[range])))
                .collect(),
        },
        Some("lookingAt") => json!(regex.looking_at(text).expect("few steps")),
        op => panic!("unknown op {op:?}"),
    }
}

/// `tests/golden/java_regex.jsonl` holds what `java.util.regex` of Java 17 did with our patterns and texts.
#[test]
fn every_recorded_verdict_of_java_holds() {
    let rows = fs::read_to_string(golden().join("java_regex.jsonl")).expect("golden file");
    let mut wrong = Vec::new();
    let mut n_rows = 0;
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        let got = outcome(&row);
        if got != row["expect"] {
            wrong.push(format!("{row} gave {got}"));
        }
        n_rows += 1;
    }
    assert!(n_rows > 1000, "{n_rows} rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_pattern_of_the_golden_flows_can_be_used() {
    fn patterns(value: &Value, found: &mut Vec<String>) {
        let keys = [
            "delimiter",
            "matchPattern",
            "multiLineStartPattern",
            "fileFooterPattern",
        ];
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    match value {
                        Value::String(text) if keys.contains(&key.as_str()) => {
                            found.push(text.clone());
                        }
                        value => patterns(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| patterns(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for case in fs::read_dir(golden().join("records")).expect("golden records") {
        let flow = case.expect("a case").path().join("flow.json");
        let flow = fs::read_to_string(flow).expect("a flow");
        patterns(&serde_json::from_str(&flow).expect("JSON"), &mut found);
    }
    assert!(found.len() > 40, "{}", found.len());
    for pattern in found {
        regex(&pattern);
    }
}

/// Where ours is meant to differ from Java's, each with what Java does.
#[test]
fn known_differences_from_java_are_these() {
    // Java cuts the surrogate pair in two, which no UTF-8 text can hold.
    assert_eq!(split("", "😀a"), ["😀", "a"]);
    assert_eq!(split("x*", "😀a"), ["😀", "a"]);
    // Java compares a reference under (?i) by ASCII; the engine folds all letters.
    assert!(matches(r"(?i)(é)\1", "éÉ").is_some());
    // Java takes 'ß' alone for a letter without cases.
    assert!(matches("(?iu)ß", "ẞ").is_some());
    // Java forgets the left side of && when a lone & follows a class on the right: it takes 'c' too.
    assert!(matches("[abc&&[a]&b]", "c").is_none());
    // Java keeps only the last item before a && without a right side.
    assert!(matches("[a[b]&&]", "a").is_some());
    // Java accepts these.
    for (pattern, what) in [
        (r"\X", "grapheme cluster"),
        (r"a\b{g}", "grapheme boundary"),
        (r"\N{LATIN SMALL LETTER A}", "by its name"),
        (r"(a|b\1)+", "group that it stands in"),
        (r"\p{javaMirrored}", "javaMirrored"),
        (r"\p{InOgham}", "InOgham"),
    ] {
        assert!(error(pattern).what.contains(what), "{}", error(pattern));
    }
}

#[test]
fn one_literal_byte_is_told_from_a_pattern() {
    let cases = [
        (",", Some(b',')),
        (r"\|", Some(b'|')),
        (r"\t", Some(b'\t')),
        ("\t", Some(b'\t')),
        ("[,]", Some(b',')),
        ("(?:,)", Some(b',')),
        (r"\x2c", Some(b',')),
        (r"\u002c", Some(b',')),
        (r"\054", Some(b',')),
        (r"\Q|\E", Some(b'|')),
        ("[a&&[a]]", Some(b'a')),
        ("(?i)-", Some(b'-')),
        ("(?x) a # only that", Some(b'a')),
        ("(?i)a", None),
        ("", None),
        ("|", None),
        (".", None),
        ("::", None),
        ("(,)", None),
        (",?", None),
        ("¦", None),
    ];
    for (pattern, byte) in cases {
        let literal = JavaRegex::new(pattern).map_or(None, |regex| regex.literal_byte());
        assert_eq!(literal, byte, "{pattern:?}");
    }
}

#[test]
fn splitting_at_a_literal_byte_is_splitting_at_its_pattern() {
    for text in ["", ",", ",,", "a", "a,b", ",a,,b,,", "é,😀,", ",é"] {
        let expected = split("(?:,|,)", text);
        assert_eq!(regex("(?:,|,)").literal_byte(), None);
        assert_eq!(split(",", text), expected, "{text:?}");
    }
}

#[test]
fn results_replace_what_the_vectors_held() {
    let regex = regex("(a)(b)?");
    let mut pieces = vec![7..9, 9..9];
    regex.split("xay", &mut pieces).expect("few steps");
    assert_eq!(pieces, [0..1, 2..3]);
    let mut groups = vec![Some(7..9)];
    assert_eq!(regex.matches("a", &mut groups), Ok(true));
    assert_eq!(groups, [Some(0..1), None]);
    assert_eq!(regex.matches("b", &mut groups), Ok(false));
    assert_eq!(groups, []);
}

#[test]
fn groups_are_counted_as_java_counts_them() {
    let cases = [
        ("", 0),
        ("(a)(?:b)(?<c>d)", 2),
        ("((a)|(b))*", 3),
        (r"\(a\)[(]", 0),
        ("(a){0}b", 1),
        ("(?=(a))(?!(b))(?<=(c))", 3),
        (r"\Q(a)\E", 0),
    ];
    for (pattern, count) in cases {
        assert_eq!(regex(pattern).group_count(), count, "{pattern:?}");
    }
    assert_eq!(matches("(a){0}b(c)?", "b"), Some(vec![None, None]));
}

#[test]
fn errors_quote_the_pattern_and_point_at_the_place() {
    let cases = [
        ("a(b", 3, "isn't closed"),
        ("ab)", 2, "unmatched"),
        ("é*+*", 3, "nothing to repeat"),
        ("a{x}", 1, "without a count"),
        ("a{3,1}", 6, "ends below its start"),
        ("a{1,9999999999}", 14, "2147483647"),
        (r"ab\y", 2, r"\y"),
        (r"a\", 1, "nothing to escape"),
        ("[a", 2, "isn't closed"),
        ("[z-a]", 3, "ends below its start"),
        ("(?<a>x)(?<a>y)", 12, "<a>"),
        (r"\k<n>", 3, "<n>"),
        (r"a\p{Foo}", 1, "{Foo}"),
        ("(?<=(ab)+)", 0, "maximum length"),
        ("(?y)", 2, "unknown kind of group"),
    ];
    for (pattern, at, what) in cases {
        let error = error(pattern);
        assert_eq!(error.pattern, pattern);
        assert_eq!(error.at, at, "{error}");
        assert!(error.what.contains(what), "{error}");
    }
    assert_eq!(
        error("é[z-a]\t").to_string(),
        "\"é[z-a]\\t\" is no regular expression that can be used: a range ends below its start (character 4)\n    \
         é[z-a] \n        ^"
    );
    let long = format!("{}[z-a]{}", "x".repeat(500), "y".repeat(500));
    let shown = error(&long).to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[2].chars().position(|c| c == '^').expect("a caret");
    assert_eq!(lines[1].chars().nth(caret), Some('a'));
    assert!(lines[1].len() < 80, "{}", lines[1]);
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for open in ["(", "(?:", "[", "[^", "(?=", "(?i:", "[a&&"] {
        let error = error(&open.repeat(5_000));
        assert!(error.what.contains("100 deep"), "{open:?}: {}", error.what);
    }
    let nested = |depth| format!("{}a{}", "(".repeat(depth), ")*".repeat(depth));
    assert!(matches(&nested(100), "aaa").is_some());
    assert!(JavaRegex::new(&nested(101)).is_err());
    // The backtracking engine bears less, and says so.
    assert!(JavaRegex::new(&format!("(?=a){}", nested(100))).is_err());
}

#[test]
fn what_the_linear_engine_can_say_takes_no_steps() {
    let text = "a".repeat(100_000);
    assert_eq!(regex("(a+)+b").is_full_match(&text), Ok(false));
    assert_eq!(regex("(?:a|a)*b$").looking_at(&text), Ok(false));
    assert_eq!(regex(r"\b(a+)+\b.*b").is_full_match(&text), Ok(false));
}

#[test]
fn the_backtracking_engine_gives_up() {
    let text = "a".repeat(100_000) + "b";
    // A million steps each.
    let explosive = regex("(?:(a+)+(?!b))+");
    assert_eq!(explosive.is_full_match(&text), Err(StepLimit));
    let mut groups = Vec::new();
    assert_eq!(explosive.matches(&text, &mut groups), Err(StepLimit));
    assert_eq!(groups, []);
    let mut pieces = Vec::new();
    let search = regex(r"(?:(a*)*)*\1c");
    assert_eq!(search.split(&text, &mut pieces), Err(StepLimit));
    assert!(StepLimit.to_string().contains("1000000"));
}

#[test]
fn high_counts_cost_no_memory_and_hostile_ones_are_refused() {
    let text = "é".repeat(5_000);
    for pattern in [
        ".{0,65535}",
        "[^,]{5000}",
        r"(?U)\w{1,2147483647}",
        r"(?:\p{L}{1,1000}){1,1000}",
    ] {
        assert_eq!(regex(pattern).is_full_match(&text), Ok(true), "{pattern}");
    }
    assert_eq!(regex("[^,]{0,4999}").is_full_match(&text), Ok(false));
    assert_eq!(regex("a{2147483647}").looking_at(&text), Ok(false));
    for hostile in [
        r"\pL".repeat(10_000),
        r"[\p{L}&&[^a]]{1,9}".repeat(1_000),
        "a".repeat(100_000),
    ] {
        assert!(JavaRegex::new(&hostile).is_err());
    }
}

#[test]
fn a_regex_goes_where_flows_go() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let regex = regex("a");
    shared(&regex);
    assert_eq!(format!("{:?}", regex.clone()), r#"JavaRegex("a")"#);
    assert_eq!(regex.as_str(), "a");
}

/// Patterns out of what matters in a pattern, most of them legal.
fn pattern() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "a",
        "b",
        "é",
        "😀",
        ".",
        r"\d",
        r"\w",
        r"\s",
        "[ab]",
        "[^a]",
        "[a-c&&[^b]]",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?=",
        "(?!",
        "(?<=",
        "(?<!",
        "(?>",
        "|",
        "*",
        "+",
        "?",
        "++",
        "*?",
        "{2}",
        "{1,3}",
        "{",
        "}",
        "[",
        "]",
        "^",
        "$",
        r"\b",
        r"\B",
        r"\G",
        r"\R",
        r"\1",
        r"\Z",
        r"\Q",
        r"\E",
        "\\",
        "&&",
        "-",
        "(?x)",
        "#",
        "(?m)",
        r"\p{L}",
        r"\x{1F600}",
        r"\u00e9",
        "\n",
        r"\S",
    ]);
    prop::collection::vec(atom, 0..12).prop_map(|atoms| atoms.concat())
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "c", "é", "😀", "1", " ", "\n", "\r", "\r\n", "\u{85}", "\u{2028}", "\u{301}",
        "_", ",",
    ]);
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

/// Legal patterns that both engines have words for.
fn linear_pattern() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a", "b", "é", "ab", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", r"\b", "^", "$", r"\R",
        "(?i:A)",
    ]);
    let leaf = leaf.prop_map(str::to_owned);
    leaf.prop_recursive(4, 16, 3, |inner| {
        let times = prop::sample::select(vec!["", "?", "*", "+", "{1,2}", "*?", "??"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(?:{a}|{b})")),
            (inner.clone(), times).prop_map(|(a, times)| format!("({a}){times}")),
        ]
    })
}

fn fixed_seed() -> Config {
    Config {
        rng_seed: RngSeed::Fixed(17),
        failure_persistence: None,
        ..Config::with_cases(250)
    }
}

proptest! {
    #![proptest_config(fixed_seed())]

    #[test]
    fn nothing_panics_and_pieces_lie_in_order(pattern in pattern(), text in text()) {
        let Ok(regex) = JavaRegex::new(&pattern) else { return Ok(()) };
        let mut pieces = Vec::new();
        let mut groups = Vec::new();
        if regex.split(&text, &mut pieces).is_ok() {
            let mut end = 0;
            for piece in &pieces {
                prop_assert!(end <= piece.start && piece.start <= piece.end);
                prop_assert!(text.get(piece.clone()).is_some());
                end = piece.end;
            }
            prop_assert!(end <= text.len());
            prop_assert!(pieces.len() <= 1 || pieces.last().is_some_and(|last| !last.is_empty()));
        }
        if regex.matches(&text, &mut groups) == Ok(true) {
            prop_assert_eq!(groups.len(), regex.group_count());
            prop_assert_ne!(regex.looking_at(&text), Ok(false));
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(pattern in ".{0,20}", text in ".{0,20}") {
        if let Ok(regex) = JavaRegex::new(&pattern) {
            prop_assert_eq!(regex.as_str(), &pattern);
            let _ = regex.is_full_match(&text);
        }
    }

    #[test]
    fn quoted_text_matches_itself_alone(quoted in "[^\\\\]{1,10}", other in ".{0,10}") {
        let regex = regex(&format!(r"\Q{quoted}\E"));
        prop_assert_eq!(regex.is_full_match(&quoted), Ok(true));
        prop_assert_eq!(regex.is_full_match(&other), Ok(other == quoted));
        prop_assert_eq!(regex.looking_at(&format!("{quoted}{other}")), Ok(true));
    }

    #[test]
    fn both_engines_agree(pattern in linear_pattern(), text in text()) {
        let parsed = parse::parse(&pattern, &Flags::default()).expect("legal");
        for usage in [Use::Full, Use::Prefix, Use::Search] {
            let chosen = Matcher::new(&parsed, usage).expect("sayable");
            let backtracking = Matcher::backtracking(&parsed, usage).expect("sayable");
            prop_assert_eq!(chosen.is_match(&text), backtracking.is_match(&text), "{:?}", usage);
            if usage == Use::Search {
                prop_assert_eq!(chosen.find_at(&text, 0), backtracking.find_at(&text, 0));
            }
            if usage == Use::Full {
                let (mut groups, mut others) = (Vec::new(), Vec::new());
                let _ = chosen.captures_at(&text, 0, &mut groups);
                let _ = backtracking.captures_at(&text, 0, &mut others);
                prop_assert_eq!(groups, others);
            }
        }
    }
}
