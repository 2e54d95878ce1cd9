//! A Java pattern as characters that know whether they were quoted, and a cursor over them.

use super::PatternError;

/// A character of the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub c: char,
    /// Its place in the pattern, in characters.
    pub at: usize,
    /// Stood between `\Q` and `\E`: only ever itself.
    pub quoted: bool,
}

impl Token {
    /// Whether this is the character `c` with its meaning in a pattern.
    pub(super) fn is(self, c: char) -> bool {
        self.c == c && !self.quoted
    }
}

/// Reads a pattern from front to back.
///
/// Under COMMENTS, [`Scanner::peek`] and [`Scanner::next`] pass over white space and comments first; the `_raw` ones
/// never do.
#[derive(Debug)]
pub(super) struct Scanner<'p> {
    pattern: &'p str,
    tokens: Vec<Token>,
    pos: usize,
    /// COMMENTS is on, and these characters end a comment.
    pub comments: Option<CommentEnd>,
}

/// Which characters end a comment; those that aren't white space then count as part of the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommentEnd {
    AnyLineEnd,
    /// `(?d)`
    LineFeed,
}

impl<'p> Scanner<'p> {
    pub(super) fn new(pattern: &'p str) -> Scanner<'p> {
        Scanner {
            pattern,
            tokens: tokens(pattern),
            pos: 0,
            comments: None,
        }
    }

    /// The pattern's length in characters, without what quotes.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn peek_raw(&self) -> Option<Token> {
        self.tokens.get(self.pos).copied()
    }

    pub(super) fn next_raw(&mut self) -> Option<Token> {
        let token = self.peek_raw()?;
        self.pos += 1;
        Some(token)
    }

    pub(super) fn peek(&mut self) -> Option<Token> {
        self.skip_ignored();
        self.peek_raw()
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        self.skip_ignored();
        self.next_raw()
    }

    /// Where it stands, to come back to with [`Scanner::reset`].
    pub(super) fn mark(&self) -> usize {
        self.pos
    }

    pub(super) fn reset(&mut self, mark: usize) {
        self.pos = mark;
    }

    /// The token after the one that [`Scanner::peek`] shows.
    pub(super) fn peek_second(&mut self) -> Option<Token> {
        self.skip_ignored();
        let here = self.pos;
        self.pos += 1;
        let second = self.peek();
        self.pos = here;
        second
    }

    /// Likewise, without passing over anything after the first.
    pub(super) fn peek_second_raw(&mut self) -> Option<Token> {
        self.skip_ignored();
        self.tokens.get(self.pos + 1).copied()
    }

    /// Takes the next token if it is `c`.
    pub(super) fn take(&mut self, c: char) -> bool {
        let found = self.peek().is_some_and(|token| token.is(c));
        self.pos += usize::from(found);
        found
    }

    /// The place of what comes next, in characters; the pattern's length at its end.
    pub(super) fn at(&self) -> usize {
        match self.peek_raw() {
            Some(token) => token.at,
            None => self.pattern.chars().count(),
        }
    }

    /// An error at the place of what comes next.
    pub(super) fn error(&self, what: impl Into<String>) -> PatternError {
        self.error_at(self.at(), what)
    }

    pub(super) fn error_at(&self, at: usize, what: impl Into<String>) -> PatternError {
        PatternError {
            pattern: self.pattern.to_owned(),
            at,
            what: what.into(),
        }
    }

    fn skip_ignored(&mut self) {
        let Some(end) = self.comments else {
            return;
        };
        while let Some(token) = self.peek_raw() {
            if token.is('#') {
                while self.peek_raw().is_some_and(|token| !end.holds(token.c)) {
                    self.pos += 1;
                }
                if self.peek_raw().is_some_and(|token| is_white_space(token.c)) {
                    self.pos += 1;
                }
            } else if !token.quoted && is_white_space(token.c) {
                self.pos += 1;
            } else {
                return;
            }
        }
    }
}

impl CommentEnd {
    fn holds(self, c: char) -> bool {
        match self {
            CommentEnd::AnyLineEnd => matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'),
            CommentEnd::LineFeed => c == '\n',
        }
    }
}

fn is_white_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// Resolves `\Q…\E`, which Java does before anything else: in classes, in comments, and without an `\E` to the end.
fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().enumerate().peekable();
    let mut quoting = false;
    while let Some((at, c)) = chars.next() {
        let escaped = match c {
            '\\' => chars.peek().map(|&(_, next)| next),
            _ => None,
        };
        match escaped {
            Some('Q') if !quoting => {
                quoting = true;
                chars.next();
            }
            Some('E') if quoting => {
                quoting = false;
                chars.next();
            }
            Some(_) if !quoting => {
                tokens.push(Token {
                    c,
                    at,
                    quoted: false,
                });
                tokens.extend(chars.next().map(|(at, c)| Token {
                    c,
                    at,
                    quoted: false,
                }));
            }
            // A letter means itself anyway, quoted or not; so it may even go on an escape or name a group.
            _ => tokens.push(Token {
                c,
                at,
                quoted: quoting && !c.is_ascii_alphabetic(),
            }),
        }
    }
    tokens
}
