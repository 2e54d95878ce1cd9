//! Which characters `\p{…}`, `\d` and their like stand for.
//!
//! Names and their rules are Java's; the characters come from the Unicode tables of `regex-syntax`, which are newer than
//! Java 17's (Unicode 13): characters that were assigned since may differ.

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use super::ast::{Folding, code_points, set_of};

/// Classes with a letter of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shorthand {
    /// `\d`
    Digit,
    /// `\w`
    Word,
    /// `\s`
    Space,
    /// `\h`
    HorizontalSpace,
    /// `\v`
    VerticalSpace,
}

impl Shorthand {
    /// The characters, ASCII only unless `unicode` (`(?U)`) or the class has no ASCII form.
    pub(super) fn set(self, unicode: bool) -> ClassUnicode {
        match (self, unicode) {
            (Shorthand::Digit, false) => set_of(&[('0', '9')]),
            (Shorthand::Digit, true) => ucd("Nd"),
            (Shorthand::Word, false) => set_of(&[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')]),
            (Shorthand::Word, true) => {
                union(&["Alphabetic", "Mn", "Me", "Mc", "Nd", "Pc", "Join_Control"])
            }
            (Shorthand::Space, false) => set_of(&[('\t', '\r'), (' ', ' ')]),
            (Shorthand::Space, true) => ucd("White_Space"),
            (Shorthand::HorizontalSpace, _) => set_of(&[
                ('\t', '\t'),
                (' ', ' '),
                ('\u{A0}', '\u{A0}'),
                ('\u{1680}', '\u{1680}'),
                ('\u{180E}', '\u{180E}'),
                ('\u{2000}', '\u{200A}'),
                ('\u{202F}', '\u{202F}'),
                ('\u{205F}', '\u{205F}'),
                ('\u{3000}', '\u{3000}'),
            ]),
            (Shorthand::VerticalSpace, _) => {
                set_of(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')])
            }
        }
    }
}

/// The characters of the property `name`, as written between the braces; `None` if there is no such property, or none
/// that the Unicode tables at hand can tell. `unicode` is `(?U)`.
pub(super) fn lookup(name: &str, unicode: bool, folding: Folding) -> Option<ClassUnicode> {
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "sc" | "script" => script(value),
            "blk" | "block" => block(value),
            "gc" | "general_category" => category(value, folding),
            _ => None,
        };
    }
    if let Some(name) = name.strip_prefix("In") {
        return block(name);
    }
    if let Some(name) = name.strip_prefix("Is") {
        return binary(name, folding)
            .or_else(|| category(name, folding))
            .or_else(|| script(name));
    }
    let posix = match unicode {
        true => posix_unicode(name, folding),
        false => None,
    };
    posix.or_else(|| category(name, folding))
}

/// Unicode's binary properties, by names of any case.
fn binary(name: &str, folding: Folding) -> Option<ClassUnicode> {
    Some(match name.to_ascii_uppercase().as_str() {
        "ALPHABETIC" => ucd("Alphabetic"),
        "LETTER" => ucd("L"),
        "IDEOGRAPHIC" => ucd("Ideographic"),
        "LOWERCASE" => cased("Lowercase", folding),
        "UPPERCASE" => cased("Uppercase", folding),
        "TITLECASE" => cased("Lt", folding),
        "WHITE_SPACE" | "WHITESPACE" => ucd("White_Space"),
        "CONTROL" => ucd("Cc"),
        "PUNCTUATION" => ucd("P"),
        "HEX_DIGIT" | "HEXDIGIT" => posix_unicode("xdigit", folding)?,
        "ASSIGNED" => all_but(&["Cn"]),
        "NONCHARACTER_CODE_POINT" | "NONCHARACTERCODEPOINT" => ucd("Noncharacter_Code_Point"),
        "WORD" => Shorthand::Word.set(true),
        "JOIN_CONTROL" | "JOINCONTROL" => ucd("Join_Control"),
        _ => return posix_unicode(name, folding),
    })
}

/// The POSIX names in their Unicode form, by names of any case.
fn posix_unicode(name: &str, folding: Folding) -> Option<ClassUnicode> {
    Some(match name.to_ascii_lowercase().as_str() {
        "alpha" => ucd("Alphabetic"),
        "lower" => cased("Lowercase", folding),
        "upper" => cased("Uppercase", folding),
        "space" => ucd("White_Space"),
        "punct" => ucd("P"),
        "xdigit" => union(&["Nd", "Hex_Digit"]),
        "alnum" => union(&["Alphabetic", "Nd"]),
        "cntrl" => ucd("Cc"),
        "digit" => ucd("Nd"),
        "blank" => with(ucd("Zs"), &[('\t', '\t')]),
        "graph" => all_but(&["White_Space", "Cc", "Cn"]),
        "print" => {
            let mut set = all_but(&["White_Space", "Cc", "Cn"]);
            set.union(&ucd("Zs"));
            set
        }
        _ => return None,
    })
}

/// General categories, the POSIX names in their ASCII form, and the `java…` ones, by exact names.
fn category(name: &str, folding: Folding) -> Option<ClassUnicode> {
    let is_folded = folding != Folding::Exact;
    Some(match name {
        "Lu" | "Ll" | "Lt" if is_folded => ucd("LC"),
        "Cn" | "Lu" | "Ll" | "Lt" | "Lm" | "Lo" | "Mn" | "Me" | "Mc" | "Nd" | "Nl" | "No"
        | "Zs" | "Zl" | "Zp" | "Cc" | "Cf" | "Co" | "Pd" | "Ps" | "Pe" | "Pc" | "Po" | "Sm"
        | "Sc" | "Sk" | "So" | "Pi" | "Pf" | "L" | "M" | "N" | "Z" | "C" | "P" | "S" | "LC" => {
            ucd(name)
        }
        "Cs" => ClassUnicode::empty(),
        "LD" => union(&["L", "Nd"]),
        "L1" => code_points(0, 0xFF),
        "all" => code_points(0, char::MAX.into()),
        "ASCII" => code_points(0, 0x7F),
        "Lower" | "Upper" if is_folded => set_of(&[('A', 'Z'), ('a', 'z')]),
        "Lower" => set_of(&[('a', 'z')]),
        "Upper" => set_of(&[('A', 'Z')]),
        "Alpha" => set_of(&[('A', 'Z'), ('a', 'z')]),
        "Digit" => set_of(&[('0', '9')]),
        "Alnum" => set_of(&[('0', '9'), ('A', 'Z'), ('a', 'z')]),
        "Punct" => set_of(&[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')]),
        "Graph" => set_of(&[('!', '~')]),
        "Print" => set_of(&[(' ', '~')]),
        "Blank" => set_of(&[('\t', '\t'), (' ', ' ')]),
        "Cntrl" => set_of(&[('\0', '\u{1F}'), ('\u{7F}', '\u{7F}')]),
        "XDigit" => set_of(&[('0', '9'), ('A', 'F'), ('a', 'f')]),
        "Space" => set_of(&[('\t', '\r'), (' ', ' ')]),
        _ => return java_method(name.strip_prefix("java")?, folding),
    })
}

/// `javaX`: what Java's `Character.isX` says.
fn java_method(name: &str, folding: Folding) -> Option<ClassUnicode> {
    let ignorable = || {
        let controls = [('\0', '\u{8}'), ('\u{E}', '\u{1B}'), ('\u{7F}', '\u{9F}')];
        with(ucd("Cf"), &controls)
    };
    Some(match name {
        "LowerCase" => cased("Lowercase", folding),
        "UpperCase" => cased("Uppercase", folding),
        "TitleCase" => cased("Lt", folding),
        "Alphabetic" => ucd("Alphabetic"),
        "Ideographic" => ucd("Ideographic"),
        "Digit" => ucd("Nd"),
        "Defined" => all_but(&["Cn"]),
        "Letter" => ucd("L"),
        "LetterOrDigit" => union(&["L", "Nd"]),
        "JavaIdentifierStart" => union(&["L", "Nl", "Sc", "Pc"]),
        "JavaIdentifierPart" => {
            let mut set = union(&["L", "Nl", "Sc", "Pc", "Nd", "Mc", "Mn"]);
            set.union(&ignorable());
            set
        }
        "UnicodeIdentifierStart" => ucd("ID_Start"),
        "UnicodeIdentifierPart" => {
            let mut set = ucd("ID_Continue");
            set.union(&ignorable());
            set
        }
        "IdentifierIgnorable" => ignorable(),
        "SpaceChar" => ucd("Z"),
        "Whitespace" => {
            let mut set = ucd("Z");
            set.difference(&set_of(&[
                ('\u{A0}', '\u{A0}'),
                ('\u{2007}', '\u{2007}'),
                ('\u{202F}', '\u{202F}'),
            ]));
            with(set, &[('\t', '\r'), ('\u{1C}', '\u{1F}')])
        }
        "ISOControl" => ucd("Cc"),
        _ => return None,
    })
}

/// A case property; all cases together where case doesn't count.
fn cased(name: &str, folding: Folding) -> ClassUnicode {
    match folding {
        Folding::Exact => ucd(name),
        Folding::Ascii | Folding::Unicode => union(&["Lowercase", "Uppercase", "Lt"]),
    }
}

fn script(name: &str) -> Option<ClassUnicode> {
    let is_name = |c: char| c.is_ascii_alphabetic() || c == '_';
    match !name.is_empty() && name.chars().all(is_name) {
        true => query(&format!("sc={name}")),
        false => None,
    }
}

/// The blocks that patterns have been seen to name.
const BLOCKS: &[(&str, u32, u32)] = &[
    ("basiclatin", 0x0000, 0x007F),
    ("latin1supplement", 0x0080, 0x00FF),
    ("latinextendeda", 0x0100, 0x017F),
    ("latinextendedb", 0x0180, 0x024F),
    ("ipaextensions", 0x0250, 0x02AF),
    ("spacingmodifierletters", 0x02B0, 0x02FF),
    ("combiningdiacriticalmarks", 0x0300, 0x036F),
    ("greek", 0x0370, 0x03FF),
    ("greekandcoptic", 0x0370, 0x03FF),
    ("cyrillic", 0x0400, 0x04FF),
    ("cyrillicsupplement", 0x0500, 0x052F),
    ("armenian", 0x0530, 0x058F),
    ("hebrew", 0x0590, 0x05FF),
    ("arabic", 0x0600, 0x06FF),
    ("devanagari", 0x0900, 0x097F),
    ("bengali", 0x0980, 0x09FF),
    ("tamil", 0x0B80, 0x0BFF),
    ("thai", 0x0E00, 0x0E7F),
    ("georgian", 0x10A0, 0x10FF),
    ("hanguljamo", 0x1100, 0x11FF),
    ("latinextendedadditional", 0x1E00, 0x1EFF),
    ("greekextended", 0x1F00, 0x1FFF),
    ("generalpunctuation", 0x2000, 0x206F),
    ("superscriptsandsubscripts", 0x2070, 0x209F),
    ("currencysymbols", 0x20A0, 0x20CF),
    ("letterlikesymbols", 0x2100, 0x214F),
    ("numberforms", 0x2150, 0x218F),
    ("arrows", 0x2190, 0x21FF),
    ("mathematicaloperators", 0x2200, 0x22FF),
    ("miscellaneoustechnical", 0x2300, 0x23FF),
    ("boxdrawing", 0x2500, 0x257F),
    ("blockelements", 0x2580, 0x259F),
    ("geometricshapes", 0x25A0, 0x25FF),
    ("miscellaneoussymbols", 0x2600, 0x26FF),
    ("dingbats", 0x2700, 0x27BF),
    ("cjksymbolsandpunctuation", 0x3000, 0x303F),
    ("hiragana", 0x3040, 0x309F),
    ("katakana", 0x30A0, 0x30FF),
    ("bopomofo", 0x3100, 0x312F),
    ("hangulcompatibilityjamo", 0x3130, 0x318F),
    ("cjkunifiedideographsextensiona", 0x3400, 0x4DBF),
    ("cjkunifiedideographs", 0x4E00, 0x9FFF),
    ("hangulsyllables", 0xAC00, 0xD7AF),
    ("privateusearea", 0xE000, 0xF8FF),
    ("cjkcompatibilityideographs", 0xF900, 0xFAFF),
    ("alphabeticpresentationforms", 0xFB00, 0xFB4F),
    ("arabicpresentationformsa", 0xFB50, 0xFDFF),
    ("variationselectors", 0xFE00, 0xFE0F),
    ("combininghalfmarks", 0xFE20, 0xFE2F),
    ("arabicpresentationformsb", 0xFE70, 0xFEFF),
    ("halfwidthandfullwidthforms", 0xFF00, 0xFFEF),
    ("specials", 0xFFF0, 0xFFFF),
    ("miscellaneoussymbolsandpictographs", 0x1F300, 0x1F5FF),
    ("emoticons", 0x1F600, 0x1F64F),
    ("transportandmapsymbols", 0x1F680, 0x1F6FF),
    ("supplementalsymbolsandpictographs", 0x1F900, 0x1F9FF),
    ("cjkunifiedideographsextensionb", 0x20000, 0x2A6DF),
];

fn block(name: &str) -> Option<ClassUnicode> {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, ' ' | '_' | '-'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    BLOCKS
        .iter()
        .find(|(block, ..)| *block == plain)
        .map(|&(_, first, last)| code_points(first, last))
}

fn with(mut set: ClassUnicode, ranges: &[(char, char)]) -> ClassUnicode {
    set.union(&set_of(ranges));
    set
}

fn union(names: &[&str]) -> ClassUnicode {
    names.iter().fold(ClassUnicode::empty(), |mut set, name| {
        set.union(&ucd(name));
        set
    })
}

/// All characters but those of the named properties.
fn all_but(names: &[&str]) -> ClassUnicode {
    let mut set = union(names);
    set.negate();
    set
}

/// The characters of a property by its name in the Unicode tables, one of those written in this file.
fn ucd(name: &str) -> ClassUnicode {
    query(name).expect("a name of this file is in the tables")
}

fn query(name: &str) -> Option<ClassUnicode> {
    let hir = regex_syntax::parse(&format!(r"\p{{{name}}}")).ok()?;
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(set)) => Some(set),
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(set_of(&[(c, c)]))
        }
        _ => None,
    }
}
