//! Which other characters a character stands for under `(?i)`.
//!
//! Java compares through the simple mappings: two characters are equal under `(?iu)` if the lower case of their upper
//! case is the same. That is not Unicode's simple case folding: `i`, `I`, `İ` and `ı` are all equal, for example.

use std::sync::OnceLock;

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::ast::{Folding, code_points, set_contains};

/// The characters that equal the code point `c`.
pub(super) fn fold_char(c: u32, folding: Folding) -> ClassUnicode {
    let mut set = code_points(c, c);
    let Some(c) = char::from_u32(c) else {
        return set;
    };
    match folding {
        Folding::Exact => {}
        Folding::Ascii => push_ascii_cases(&mut set),
        Folding::Unicode => {
            let folded = lower(upper(c));
            set.push(ClassUnicodeRange::new(folded, folded));
            for case in cases().iter().filter(|case| case.folded == folded) {
                set.push(ClassUnicodeRange::new(case.c, case.c));
            }
        }
    }
    set
}

/// The characters that equal one of a range: by themselves, by their upper case or by the lower case of that.
pub(super) fn fold_range(mut set: ClassUnicode, folding: Folding) -> ClassUnicode {
    match folding {
        Folding::Exact => {}
        Folding::Ascii => push_ascii_cases(&mut set),
        Folding::Unicode => {
            let equal =
                |case: &&Case| set_contains(&set, case.upper) || set_contains(&set, case.folded);
            let more: Vec<_> = cases()
                .iter()
                .filter(equal)
                .map(|case| ClassUnicodeRange::new(case.c, case.c))
                .collect();
            set.union(&ClassUnicode::new(more));
        }
    }
    set
}

/// Whether a reference to `a` matches `b`.
pub(super) fn are_equal(a: char, b: char, folding: Folding) -> bool {
    match folding {
        Folding::Exact => a == b,
        Folding::Ascii => a.eq_ignore_ascii_case(&b),
        Folding::Unicode => upper(a) == upper(b) || lower(upper(a)) == lower(upper(b)),
    }
}

fn push_ascii_cases(set: &mut ClassUnicode) {
    let flipped = ('A'..='Z')
        .chain('a'..='z')
        .filter(|&c| set_contains(set, c))
        .map(|c| (c as u8 ^ 0x20) as char)
        .map(|c| ClassUnicodeRange::new(c, c));
    let flipped = ClassUnicode::new(flipped.collect::<Vec<_>>());
    set.union(&flipped);
}

/// A character that differs from its upper case, or from the lower case of that.
struct Case {
    c: char,
    upper: char,
    folded: char,
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        (char::MIN..=char::MAX)
            .map(|c| Case {
                c,
                upper: upper(c),
                folded: lower(upper(c)),
            })
            .filter(|case| case.c != case.upper || case.c != case.folded)
            .collect()
    })
}

/// The simple upper case: where the full one has several characters, the character itself, unless it is a vowel with an
/// iota below it, which has one for the beginning of titles.
fn upper(c: char) -> char {
    let mut full = c.to_uppercase();
    if let (Some(one), None) = (full.next(), full.next()) {
        return one;
    }
    let distance = match c {
        '\u{1F80}'..='\u{1F87}' | '\u{1F90}'..='\u{1F97}' | '\u{1FA0}'..='\u{1FA7}' => 8,
        'ᾳ' | 'ῃ' | 'ῳ' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + distance).unwrap_or(c)
}

/// The simple lower case. `İ` is the one character whose full lower case is longer.
fn lower(c: char) -> char {
    let mut full = c.to_lowercase();
    match (full.next(), full.next()) {
        (Some(one), None) => one,
        _ if c == 'İ' => 'i',
        _ => c,
    }
}
