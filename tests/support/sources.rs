//! Which paths a Rust source names: those of its `use` lines, and every `a::b` of its code, macros included.
//!
//! Sources are read as tokens, not parsed: a path is a path wherever it stands. Names are resolved by the file's own
//! `use` and `mod` lines. What stands under `#[cfg(test)]` is left out.

use std::collections::HashMap;
use std::slice;

use proc_macro2::{Delimiter, Literal, TokenStream, TokenTree};

/// One source file.
#[derive(Debug)]
pub struct Source {
    /// From the project's root: `src/tail/mod.rs`.
    pub file: String,
    /// `["tail"]`; empty for the crate's root.
    pub module: Vec<String>,
    /// Every path that it names.
    pub names: Vec<Named>,
    /// Every text between quotes.
    pub texts: Vec<Text>,
    /// Modules in other files that exist for tests alone.
    pub test_modules: Vec<Vec<String>>,
}

/// A path and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// From 1.
    pub line: usize,
    /// In full: `crate::tail::split`, `std::fs::read`; `*` for a glob.
    pub path: String,
}

/// A string literal and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// From 1.
    pub line: usize,
    /// Without its quotes, escapes as they are written.
    pub text: String,
}

impl Source {
    /// Reads a source that stands in `file`.
    pub fn read(file: &str, code: &str) -> Source {
        let tokens: TokenStream = code
            .parse()
            .unwrap_or_else(|error| panic!("{file} isn't Rust: {error}"));
        let module = module_of(file);
        let mut source = Source {
            file: file.to_owned(),
            module: module.clone(),
            names: Vec::new(),
            texts: Vec::new(),
            test_modules: Vec::new(),
        };
        source.walk(tokens, &module, &Scope::default());
        source
            .names
            .sort_by(|a, b| (a.line, &a.path).cmp(&(b.line, &b.path)));
        source.names.dedup();
        source
    }

    /// Whether the module is `room` or stands below it.
    pub fn is_in(&self, room: &str) -> bool {
        let module = self.module.join("::");
        module == room || module.starts_with(&format!("{room}::"))
    }

    fn walk(&mut self, tokens: TokenStream, module: &[String], outer: &Scope) {
        let all: Vec<TokenTree> = tokens.into_iter().collect();
        let mut scope = outer.clone();
        scope.declare(&all, module);
        let mut tokens = all.iter();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(&tokens) => {
                    self.skip_item(&mut tokens, module);
                }
                TokenTree::Punct(_) => {}
                TokenTree::Ident(ident) if ident == "use" => {
                    for Used { line, path, .. } in flatten(&mut tokens) {
                        let path = scope.resolve(&path, module);
                        self.names.push(Named { line, path });
                    }
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let [TokenTree::Ident(name), TokenTree::Group(body), ..] = tokens.as_slice()
                    {
                        let inner = [module, &[name.to_string()]].concat();
                        self.walk(body.stream(), &inner, &Scope::default());
                        tokens.nth(1);
                    }
                }
                TokenTree::Ident(ident) => {
                    let line = ident.span().start().line;
                    let path = take_path(ident.to_string(), &mut tokens);
                    if path.len() > 1 {
                        let path = scope.resolve(&path, module);
                        self.names.push(Named { line, path });
                    }
                }
                TokenTree::Group(group) => self.walk(group.stream(), module, &scope),
                TokenTree::Literal(literal) => self.note_text(literal),
            }
        }
    }

    fn note_text(&mut self, literal: &Literal) {
        let written = literal.to_string();
        if let Some(text) = written
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
        {
            let (line, text) = (literal.span().start().line, text.to_owned());
            self.texts.push(Text { line, text });
        }
    }

    /// Leaves out the item that an attribute stands before; notes it if it is a module in another file.
    fn skip_item(&mut self, tokens: &mut Tokens<'_>, module: &[String]) {
        let mut last_name = None;
        let mut is_module = false;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) => {
                    is_module |= ident == "mod";
                    last_name = Some(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    if let Some(name) = last_name.filter(|_| is_module) {
                        self.test_modules.push([module, &[name]].concat());
                    }
                    return;
                }
                // The braces of `use a::{b, c};` don't end it.
                TokenTree::Group(group)
                    if group.delimiter() == Delimiter::Brace
                        && !tokens
                            .as_slice()
                            .first()
                            .is_some_and(|next| is_punct(next, ';')) =>
                {
                    return;
                }
                _ => {}
            }
        }
    }
}

type Tokens<'a> = slice::Iter<'a, TokenTree>;

/// What names stand for in a file or block.
#[derive(Debug, Clone, Default)]
struct Scope(HashMap<String, Vec<String>>);

impl Scope {
    /// Takes in the `use` and `mod` lines among the tokens.
    fn declare(&mut self, tokens: &[TokenTree], module: &[String]) {
        let mut tokens = tokens.iter();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) if ident == "use" => {
                    for Used { path, name, .. } in flatten(&mut tokens) {
                        let path = self.resolve(&path, module);
                        self.0
                            .insert(name, path.split("::").map(str::to_owned).collect());
                    }
                }
                TokenTree::Ident(ident) if ident == "mod" => {
                    if let Some(TokenTree::Ident(name)) = tokens.next() {
                        let path = [&["crate".to_owned()], module, &[name.to_string()]].concat();
                        self.0.insert(name.to_string(), path);
                    }
                }
                _ => {}
            }
        }
    }

    /// The path in full.
    fn resolve(&self, path: &[String], module: &[String]) -> String {
        let mut base = [&["crate".to_owned()], module].concat();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate" | "kinesis_agent" | "$crate") => {
                (base, rest) = (vec!["crate".to_owned()], &path[1..]);
            }
            Some("self") => rest = &path[1..],
            Some("super") => {
                while rest.first().is_some_and(|first| first == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
            }
            Some(first) => {
                base = self
                    .0
                    .get(first)
                    .cloned()
                    .unwrap_or_else(|| vec![first.to_owned()]);
                rest = &path[1..];
            }
            None => {}
        }
        [&base, rest].concat().join("::")
    }
}

struct Used {
    line: usize,
    path: Vec<String>,
    /// What it is called here.
    name: String,
}

/// The paths of the `use` tree that comes next, up to its semicolon.
fn flatten(tokens: &mut Tokens<'_>) -> Vec<Used> {
    let tree: Vec<TokenTree> = match tokens.as_slice().first() {
        // `+ use<'a>` of a type is no `use` line.
        Some(first) if is_punct(first, '<') => Vec::new(),
        _ => tokens
            .take_while(|token| !is_punct(token, ';'))
            .cloned()
            .collect(),
    };
    let mut found = Vec::new();
    flatten_into(&[], &tree, &mut found);
    found
}

fn flatten_into(before: &[String], tree: &[TokenTree], found: &mut Vec<Used>) {
    for branch in tree.split(|token| is_punct(token, ',')) {
        let mut used = Used {
            line: 0,
            path: before.to_vec(),
            name: String::new(),
        };
        let mut tokens = branch.iter();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    used.name = tokens.next().map(ToString::to_string).unwrap_or_default();
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) if !is_punct(token, ':') => {
                    used.line = token.span().start().line;
                    used.path.push(token.to_string());
                }
                TokenTree::Group(group) => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    flatten_into(&used.path, &inner, found);
                    used.line = 0;
                }
                _ => {}
            }
        }
        if used.line == 0 {
            continue;
        }
        if used.path.len() > 1 && used.path.last().is_some_and(|last| last == "self") {
            used.path.pop();
        }
        if used.name.is_empty() {
            used.name = used.path.last().cloned().unwrap_or_default();
        }
        found.push(used);
    }
}

/// The rest of a path that begins with `first`: names joined by `::`.
fn take_path(first: String, tokens: &mut Tokens<'_>) -> Vec<String> {
    let mut path = vec![first];
    while let [a, b, TokenTree::Ident(name), ..] = tokens.as_slice() {
        if !is_punct(a, ':') || !is_punct(b, ':') {
            break;
        }
        path.push(name.to_string());
        tokens.nth(2);
    }
    path
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether `[cfg(test)]` comes next.
fn is_cfg_test(tokens: &Tokens<'_>) -> bool {
    match tokens.as_slice().first() {
        Some(TokenTree::Group(group)) => group.stream().to_string().replace(' ', "") == "cfg(test)",
        _ => false,
    }
}

/// `src/tail/mod.rs` → `tail`, `src/tail/split.rs` → `tail::split`, `src/lib.rs` and `src/main.rs` → the root.
fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| {
        last == "mod" || (module.len() == 1 && (last == "lib" || last == "main"))
    }) {
        module.pop();
    }
    module
}
