//! Lines with colours, and a place to write them: a terminal whose last lines are drawn anew, or any other output.

use std::env;
use std::io::{self, IsTerminal as _, Write};

/// Columns where nobody says how many there are.
const WIDTH_DEFAULT: usize = 80;
/// The widest that lines become: wider ones are hard to read.
const WIDTH_MAX: usize = 110;
/// Rows where nobody says how many there are.
const HEIGHT_DEFAULT: usize = 24;

/// What a piece of text means; the terminal's own palette says how that looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Strong,
    Faint,
    Good,
    Warning,
    Bad,
    /// One of several things that are told apart.
    Series(usize),
}

impl Ink {
    /// The parameters of SGR, "select graphic rendition" (ECMA-48).
    fn code(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Strong => "1",
            Ink::Faint => "2",
            Ink::Good => "32",
            Ink::Warning => "33",
            Ink::Bad => "31",
            Ink::Series(place) => ["35", "34", "36"][place % 3],
        }
    }
}

/// A line, without newline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(Vec<(Ink, String)>);

impl Line {
    pub fn new() -> Line {
        Line::default()
    }

    /// Appends text, which holds no control characters.
    pub fn with(mut self, ink: Ink, text: impl Into<String>) -> Line {
        self.0.push((ink, text.into()));
        self
    }

    /// Another line's pieces stand behind this one's.
    pub fn and(mut self, rest: Line) -> Line {
        self.0.extend(rest.0);
        self
    }

    /// Columns; every character that the demo writes takes one.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// The text without colours.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Cuts what is beyond `width` columns, and shows that it did.
    fn fitted(&self, width: usize, glyphs: Glyphs) -> Line {
        if self.width() <= width {
            return self.clone();
        }
        let ellipsis = glyphs.pick("…", "~");
        let mut room = width.saturating_sub(1);
        let mut line = Line::new();
        for (ink, text) in &self.0 {
            let kept: String = text.chars().take(room).collect();
            room -= kept.chars().count();
            line = line.with(*ink, kept);
        }
        line.with(Ink::Faint, ellipsis)
    }

    fn push_to(&self, out: &mut String, look: &Look) {
        for (ink, text) in self.0.iter().filter(|(_, text)| !text.is_empty()) {
            let is_inked = look.has_colours && !ink.code().is_empty();
            if is_inked {
                out.push_str("\x1b[");
                out.push_str(ink.code());
                out.push('m');
            }
            match look.glyphs {
                // What isn't a terminal gets the text as it is, whatever the locale.
                Glyphs::Ascii if look.width.is_some() => {
                    out.extend(text.chars().map(|c| if c.is_ascii() { c } else { '?' }));
                }
                Glyphs::Unicode | Glyphs::Ascii => out.push_str(text),
            }
            if is_inked {
                out.push_str("\x1b[0m");
            }
        }
    }
}

/// What the output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    Unicode,
    Ascii,
}

impl Glyphs {
    /// One of two forms of the same.
    pub fn pick<'a>(self, unicode: &'a str, ascii: &'a str) -> &'a str {
        match self {
            Glyphs::Unicode => unicode,
            Glyphs::Ascii => ascii,
        }
    }

    /// Those of a locale as `LC_ALL`, `LC_CTYPE` and `LANG` give it: the first that isn't empty decides.
    fn of_locale(variables: [Option<String>; 3]) -> Glyphs {
        let locale = variables
            .into_iter()
            .flatten()
            .find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        match locale.contains("utf-8") || locale.contains("utf8") {
            true => Glyphs::Unicode,
            false => Glyphs::Ascii,
        }
    }
}

/// How to write on an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns that a line may take; `None`: the output isn't a terminal, lines are as long as they are.
    pub width: Option<usize>,
    height: usize,
    has_colours: bool,
    pub glyphs: Glyphs,
}

impl Look {
    /// That of standard output.
    fn of_stdout() -> Look {
        let variable = |name| env::var(name).ok();
        let is_filled = |name| variable(name).is_some_and(|value| !value.is_empty());
        let is_live =
            io::stdout().is_terminal() && variable("TERM").is_none_or(|term| term != "dumb");
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let or_default = |n: u16, default| if n == 0 { default } else { usize::from(n) };
        // A line that fills the last column is wrapped by some terminals.
        let width = size.map_or(WIDTH_DEFAULT, |size| or_default(size.ws_col, WIDTH_DEFAULT)) - 1;
        Look {
            width: is_live.then_some(width.clamp(1, WIDTH_MAX)),
            height: size.map_or(HEIGHT_DEFAULT, |size| {
                or_default(size.ws_row, HEIGHT_DEFAULT)
            }),
            has_colours: is_live && !is_filled("NO_COLOR"),
            glyphs: Glyphs::of_locale(["LC_ALL", "LC_CTYPE", "LANG"].map(variable)),
        }
    }

    #[cfg(test)]
    pub fn for_tests(width: Option<usize>, glyphs: Glyphs) -> Look {
        Look {
            width,
            height: HEIGHT_DEFAULT,
            has_colours: false,
            glyphs,
        }
    }

    /// A number as it is read best: in groups on a terminal, bare where a program may read it.
    pub fn number(&self, n: u64) -> String {
        let digits = n.to_string();
        if self.width.is_none() {
            return digits;
        }
        let mut grouped = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    }

    /// A number with its noun: `1 call`, `2 calls`.
    pub fn counted(&self, n: u64, noun: &str) -> String {
        let plural = if n == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", self.number(n))
    }
}

/// Standard output, or what stands in for it.
pub struct Screen<W> {
    out: W,
    look: Look,
    /// Asks for the look anew, as a terminal's size changes.
    look_again: fn() -> Look,
    /// Columns of each line of the block that stands at the end.
    drawn: Vec<usize>,
}

impl Screen<io::Stdout> {
    pub fn stdout() -> Screen<io::Stdout> {
        Screen {
            out: io::stdout(),
            look: Look::of_stdout(),
            look_again: Look::of_stdout,
            drawn: Vec::new(),
        }
    }
}

impl<W: Write> Screen<W> {
    /// The look as it is now.
    pub fn look(&mut self) -> Look {
        self.look = (self.look_again)();
        self.look
    }

    /// Whether lines can be drawn anew.
    pub fn is_live(&self) -> bool {
        self.look.width.is_some()
    }

    /// Writes lines that stay, in place of the block.
    pub fn say(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = self.erasure();
        self.push_lines(&mut text, lines);
        self.drawn.clear();
        self.write(&text)
    }

    /// Writes the block in place of the last one. A terminal with fewer rows shows its end.
    pub fn draw(&mut self, block: &[Line]) -> io::Result<()> {
        let mut text = self.erasure();
        let n_hidden = block
            .len()
            .saturating_sub(self.look.height.saturating_sub(1).max(1));
        let block = &block[n_hidden..];
        self.drawn = self.push_lines(&mut text, block);
        self.write(&text)
    }

    /// The block stays where it stands; what comes next stands below it.
    pub fn keep(&mut self) {
        self.drawn.clear();
    }

    fn push_lines(&self, text: &mut String, lines: &[Line]) -> Vec<usize> {
        let mut widths = Vec::new();
        for line in lines {
            let line = match self.look.width {
                Some(width) => line.fitted(width, self.look.glyphs),
                None => line.clone(),
            };
            line.push_to(text, &self.look);
            text.push('\n');
            widths.push(line.width());
        }
        widths
    }

    /// Goes up to the block's first row and clears from there. Where the terminal became narrower, its lines take more
    /// rows than they did.
    fn erasure(&self) -> String {
        let width = self.look.width.map_or(usize::MAX, |width| width + 1);
        let rows = self.drawn.iter().map(|drawn| drawn.div_ceil(width).max(1));
        match rows.sum::<usize>() {
            0 => String::new(),
            n_rows => format!("\r\x1b[{n_rows}A\x1b[J"),
        }
    }

    /// In one piece: nobody sees half of it.
    fn write(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Look = Look {
        width: Some(10),
        height: 4,
        has_colours: true,
        glyphs: Glyphs::Unicode,
    };

    fn screen(look_again: fn() -> Look) -> Screen<Vec<u8>> {
        Screen {
            out: Vec::new(),
            look: look_again(),
            look_again,
            drawn: Vec::new(),
        }
    }

    fn line(text: &str) -> Line {
        Line::new().with(Ink::Plain, text)
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters_whatever_its_colours() {
        let long = Line::new()
            .with(Ink::Good, "Zoë ")
            .with(Ink::Plain, "Müller")
            .with(Ink::Bad, "!");
        for (width, text) in [
            (12, "Zoë Müller!"),
            (11, "Zoë Müller!"),
            (10, "Zoë Mülle…"),
            (3, "Zo…"),
            (1, "…"),
        ] {
            assert_eq!(long.fitted(width, Glyphs::Unicode).text(), text);
        }
        assert_eq!(long.fitted(3, Glyphs::Ascii).text(), "Zo~");
    }

    #[test]
    fn a_block_replaces_the_one_before_and_stays_below_what_is_said() {
        let mut screen = screen(|| TERMINAL);
        screen.say(&[line("title")]).unwrap();
        screen.draw(&[line("one"), line("two")]).unwrap();
        screen
            .draw(&[Line::new().with(Ink::Good, "three")])
            .unwrap();
        screen.say(&[line("said")]).unwrap();
        screen.draw(&[line("four")]).unwrap();
        assert_eq!(
            String::from_utf8(screen.out).unwrap(),
            "title\none\ntwo\n\r\x1b[2A\x1b[J\x1b[32mthree\x1b[0m\n\r\x1b[1A\x1b[Jsaid\nfour\n"
        );
    }

    #[test]
    fn a_block_is_never_higher_than_the_terminal() {
        let mut screen = screen(|| TERMINAL);
        let block: Vec<Line> = ["1", "2", "3", "4", "5"].map(line).into();
        screen.draw(&block).unwrap();
        assert_eq!(screen.out, b"3\n4\n5\n");
    }

    #[test]
    fn a_terminal_that_became_narrower_is_cleared_all_the_same() {
        let mut screen = screen(|| TERMINAL);
        screen.draw(&[line("123456789"), line("1")]).unwrap();
        screen.look_again = || Look {
            width: Some(4),
            ..TERMINAL
        };
        screen.look();
        assert_eq!(screen.erasure(), "\r\x1b[3A\x1b[J");
    }

    #[test]
    fn colours_and_other_letters_are_left_out_where_they_would_garble() {
        let mut screen = screen(|| Look {
            has_colours: false,
            glyphs: Glyphs::Ascii,
            ..TERMINAL
        });
        screen.say(&[Line::new().with(Ink::Bad, "Zoë")]).unwrap();
        assert_eq!(screen.out, b"Zo?\n");
    }

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        let set = |value: &str| Some(value.to_owned());
        for (variables, glyphs) in [
            ([None, None, set("en_GB.UTF-8")], Glyphs::Unicode),
            ([None, set("C.utf8"), set("C")], Glyphs::Unicode),
            ([set("C"), None, set("en_GB.UTF-8")], Glyphs::Ascii),
            ([set(""), set(""), set("de_DE.utf8")], Glyphs::Unicode),
            ([None, None, None], Glyphs::Ascii),
        ] {
            assert_eq!(
                Glyphs::of_locale(variables.clone()),
                glyphs,
                "{variables:?}"
            );
        }
    }

    #[test]
    fn numbers_are_grouped_for_people_only() {
        let plain = Look {
            width: None,
            ..TERMINAL
        };
        for (n, grouped) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(TERMINAL.number(n), grouped);
            assert_eq!(plain.number(n), n.to_string());
        }
        assert_eq!(TERMINAL.counted(1, "call"), "1 call");
        assert_eq!(TERMINAL.counted(0, "call"), "0 calls");
    }
}
