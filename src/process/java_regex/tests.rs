use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use serde_json::{Value, json};

use super::backtrack::Steps;
use super::engine::Matcher;
use super::program::Program;
use super::translate::Use;
use super::{Flags, GroupFinder, JavaRegex, PatternError, StepLimit, parse};

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
        Some("split") => match regex.split(text, &mut ranges) {
            Err(StepLimit) => json!("step limit"),
            Ok(()) => ranges.into_iter().map(|piece| json!(text[piece])).collect(),
        },
        Some("matches") => match regex.matches(text, &mut groups) {
            Err(StepLimit) => json!("step limit"),
            Ok(false) => Value::Null,
            Ok(true) => groups
                .into_iter()
                .map(|group| group.map_or(Value::Null, |range| json!(text[range])))
                .collect(),
        },
        Some("find") => find(pattern, text),
        Some("lookingAt") => json!(regex.looking_at(text).ok()),
        op => panic!("unknown op {op:?}"),
    }
}

/// Where the first match is, in UTF-16 units, what it is, and its groups.
fn find(pattern: &str, text: &str) -> Value {
    let whole = GroupFinder::new(pattern).expect("legal").find_whole(text);
    let whole = match whole {
        Ok(Some(whole)) => whole,
        Ok(None) => return Value::Null,
        Err(StepLimit) => return json!("step limit"),
    };
    let parsed = parse::parse(pattern, &Flags::default()).expect("legal");
    let program = Arc::new(Program::new(&parsed));
    let matcher = Matcher::new(&parsed, &program, Use::Find);
    let mut groups = Vec::new();
    let mut steps = Steps::for_text(text);
    let found = matcher.captures(text, &mut groups, &mut steps);
    assert_eq!(found, Ok(true));
    let start = text[..whole.start].encode_utf16().count();
    let mut found = vec![json!(start), json!(text[whole])];
    found.extend(
        groups
            .into_iter()
            .map(|group| group.map_or(Value::Null, |range| json!(text[range]))),
    );
    Value::Array(found)
}

/// `tests/golden/java_regex.jsonl` holds what `java.util.regex` of Java 17 did with our patterns and texts.
#[test]
fn every_recorded_verdict_of_java_holds() {
    let rows = fs::read_to_string(golden().join("java_regex.jsonl")).expect("golden file");
    check_verdicts(&rows);
}

/// Likewise for patterns and texts put together at random: `verdicts.jsonl`.
#[test]
fn every_verdict_of_java_on_random_patterns_holds() {
    check_verdicts(include_str!("verdicts.jsonl"));
}

fn check_verdicts(rows: &str) {
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
    // Java takes 'ß' alone for a letter without cases, but not with letters beside it.
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
    assert!(matches(&format!("(?=a){}", nested(100)), "aaa").is_some());
}

#[test]
fn what_the_linear_engine_can_say_takes_no_steps() {
    let text = "a".repeat(100_000);
    assert_eq!(regex("(a+)+b").is_full_match(&text), Ok(false));
    assert_eq!(regex("(?:a|a)*b$").looking_at(&text), Ok(false));
    assert_eq!(regex(r"\b(a+)+\b.*b").is_full_match(&text), Ok(false));
}

/// Each would be at it for hours, days, or longer than the world has been: Java's engine, too.
#[test]
fn a_catastrophic_pattern_ends_within_its_steps() {
    let many = "a".repeat(100_000);
    let mut pieces = Vec::new();
    let mut groups = Vec::new();
    for pattern in [
        r"(?<!x)(?:a+)+c",
        r"(?:(a+)+(?!b))+c",
        r"(?=(a+)+c)a",
        r"(?:(a*)*)*\1c",
        r"(?:(a|aa)+){2,9}(?<=b)",
        r"(?:(?:(?:a{1,50}){1,50}){1,20}){1,4}(?!a)c",
        r"(?:a?){1000}(?<!a)c",
        r"(?<=(a{9}){9}b)a",
        r"(?<=a{0,99999})(?<=a{0,99999}b)",
        r"(a(?:a(?:a*)*)*)*\1\1c",
        r"(?:.*(?=a).*)+c",
        r"(?>(?:a|a)*)+?c(?!c)",
    ] {
        let regex = regex(pattern);
        for answer in [
            regex.is_full_match(&many).map(|_| ()),
            regex.looking_at(&many).map(|_| ()),
            regex.matches(&many, &mut groups).map(|_| ()),
            regex.split(&many, &mut pieces),
        ] {
            // That it comes at all is the point.
            assert!(matches!(answer, Ok(()) | Err(StepLimit)), "{pattern}");
        }
    }
    let explosive = regex(r"(?<!x)(?:a+)+c");
    assert_eq!(explosive.split(&many, &mut pieces), Err(StepLimit));
    assert_eq!(
        regex(r"(a*)*\1c").matches(&many, &mut groups),
        Err(StepLimit)
    );
    assert_eq!(groups, []);
    let finder = GroupFinder::new(r"(?:(a+)+(?!b))+c").expect("a pattern");
    assert_eq!(finder.find(&many), Err(StepLimit));
    assert!(StepLimit.to_string().contains("1000000"));
}

/// Linear time is the text times the pattern, and high counts make a pattern long.
#[test]
fn high_counts_over_long_text_end_within_their_steps() {
    let many = "a".repeat(100_000);
    for pattern in [
        "(?:(?:a{1,50}){1,50}){1,20}c",
        "(?:.{1,300}x?){1,300}c",
        "(?:a?){5000}c",
    ] {
        let mut pieces = Vec::new();
        assert!(matches!(
            regex(pattern).split(&many, &mut pieces),
            Ok(()) | Err(StepLimit)
        ));
    }
    assert_eq!(regex("[^,]{100000}").is_full_match(&many), Ok(true));
}

/// What failed once behind a turn of a loop isn't tried again there, so nested ones take some steps a character.
#[test]
fn nested_loops_of_which_java_remembers_what_failed_are_answered() {
    for (pattern, text) in [
        (r"(?!x)(\w+\s?)*$", "word ".repeat(200) + "!"),
        (r"(?!x)(?:a|a)*(?:b|b)*c", "a".repeat(3_000)),
        (r"(?!x)(?:a+?|b)*?c", "ab".repeat(500)),
    ] {
        assert_eq!(regex(pattern).is_full_match(&text), Ok(false), "{pattern}");
    }
}

#[test]
fn long_text_leaves_the_thread_its_stack() {
    let text = "ab".repeat(50_000);
    assert_eq!(regex(r"(?!x)(?:a|b)*").is_full_match(&text), Ok(true));
    let mut groups = Vec::new();
    assert_eq!(
        regex(r"(?!x)((a)|(b))*").matches(&text, &mut groups),
        Ok(true)
    );
    assert_eq!(groups.last(), Some(&Some(99_999..100_000)));
}

/// What Java's groups hold where other engines differ, each with the reason.
#[test]
fn groups_hold_what_java_leaves_in_them() {
    for (pattern, text, expected) in [
        // A turn that took nothing is dropped if there is one way to match, and kept if there are several.
        ("()*", "", vec![None]),
        ("(a*)*", "aa", vec![Some("")]),
        ("(a|)+", "a", vec![Some("")]),
        // What a look-around or an atomic group set stays when the way on fails.
        ("(?:(?=(a))b|a)", "a", vec![Some("a")]),
        ("(?:(?>(a))b|ac)", "ac", vec![Some("a")]),
        // So do groups inside a repetition with one way to match, but not the repeated one itself.
        (r"(?:(\w)(\d))*\w\d", "a1b2", vec![Some("b"), Some("2")]),
        (r"(\w)*\w", "ab", vec![Some("a")]),
        (r"(?:(\w))*\w", "ab", vec![Some("b")]),
        // A group that is gone through several times holds the first time's value if it took more than it had to.
        (r"(?:(\w){0,2},?)*", "ab,c", vec![Some("b")]),
        (r"(?:([ab])+c)*", "abcbac", vec![Some("b")]),
        (r"(?:([ab]){1,2}c){2}", "abcac", vec![Some("b")]),
        (r"(?:([ab]d)+c)*", "adbdcbdadc", vec![Some("bd")]),
        // Not so if it is repeated in so many turns always, or reluctantly, or is within a group.
        (r"(?:([ab]){2}c)*", "abcbac", vec![Some("a")]),
        (r"(?:([ab])+?c)*", "abcbac", vec![Some("a")]),
        (r"(?:([ab]+)c)*", "abcbac", vec![Some("ba")]),
        // A reference to the group that it stands in is to the turn before.
        (r"(a|b\1)+", "aba", vec![Some("ba")]),
    ] {
        assert_eq!(matches(pattern, text), Some(expected), "{pattern:?}");
    }
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
        let program = Arc::new(Program::new(&parsed));
        for usage in [Use::Full, Use::Prefix, Use::Search, Use::Find] {
            let chosen = Matcher::new(&parsed, &program, usage);
            let backtracking = Matcher::backtracking(&parsed, &program, usage);
            let steps = &mut Steps::for_text(&text);
            prop_assert_eq!(chosen.is_match(&text, steps), backtracking.is_match(&text, steps), "{:?}", usage);
            if matches!(usage, Use::Search | Use::Find) {
                prop_assert_eq!(chosen.find_at(&text, 0, 0, steps), backtracking.find_at(&text, 0, 0, steps));
            }
            if usage.wants_groups() {
                let (mut groups, mut others) = (Vec::new(), Vec::new());
                let _ = chosen.captures(&text, &mut groups, steps);
                let _ = backtracking.captures(&text, &mut others, steps);
                prop_assert_eq!(groups, others);
            }
        }
    }
}
