//! Just enough of Rust's lexer to tell code from comments, strings and tests. Standard library only.

use std::ops::Range;

/// One token of Rust code; comments are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// What stands between a string's quotes, escapes as written.
    Text(String),
    /// Any other character.
    Mark(char),
}

impl Token {
    /// Whether this is the word `word`.
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(found) if found == word)
    }

    /// Whether this is the character `mark`.
    pub(crate) fn marks(&self, mark: char) -> bool {
        self.kind == Kind::Mark(mark)
    }

    /// The word, when it is one.
    pub(crate) fn word(&self) -> Option<&str> {
        if let Kind::Word(word) = &self.kind { Some(word) } else { None }
    }

    /// The string, when it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }
}

/// The tokens of a file. Nonsense gives nonsense, never a panic.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: source.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    lexer.run();
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let found = self.peek(0)?;
        self.at += 1;
        if found == '\n' {
            self.line += 1;
        }
        Some(found)
    }

    fn push(&mut self, line: usize, kind: Kind) {
        self.tokens.push(Token { line, kind });
    }

    fn run(&mut self) {
        while let Some(found) = self.peek(0) {
            let line = self.line;
            match found {
                _ if found.is_whitespace() => {
                    self.next();
                }
                '/' if self.peek(1) == Some('/') => self.skip_line(),
                '/' if self.peek(1) == Some('*') => self.skip_block(),
                '"' => {
                    self.next();
                    let text = self.quoted();
                    self.push(line, Kind::Text(text));
                }
                '\'' => self.character_or_lifetime(),
                _ if found.is_alphanumeric() || found == '_' => self.word_or_prefixed_string(),
                _ => {
                    self.next();
                    self.push(line, Kind::Mark(found));
                }
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek(0).is_some_and(|found| found != '\n') {
            self.next();
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 0usize;
        while let Some(found) = self.next() {
            if found == '/' && self.peek(0) == Some('*') {
                self.next();
                depth += 1;
            } else if found == '*' && self.peek(0) == Some('/') {
                self.next();
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// The rest of an ordinary string, after its opening quote.
    fn quoted(&mut self) -> String {
        let mut text = String::new();
        while let Some(found) = self.next() {
            match found {
                '"' => break,
                '\\' => {
                    text.push(found);
                    text.extend(self.next());
                }
                _ => text.push(found),
            }
        }
        text
    }

    /// The rest of a raw string, after its opening quote.
    fn raw(&mut self, hashes: usize) -> String {
        let mut text = String::new();
        while let Some(found) = self.next() {
            if found == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
            text.push(found);
        }
        text
    }

    fn character_or_lifetime(&mut self) {
        self.next();
        match (self.peek(0), self.peek(1)) {
            (Some('\\'), _) => {
                self.next();
                self.next();
                while self.next().is_some_and(|found| found != '\'') {}
            }
            (Some(_), Some('\'')) => {
                self.next();
                self.next();
            }
            // A lifetime: its name is a word like any other, and of no interest.
            _ => {}
        }
    }

    fn word_or_prefixed_string(&mut self) {
        let line = self.line;
        let mut word = String::new();
        while let Some(found) = self.peek(0).filter(|found| found.is_alphanumeric() || *found == '_') {
            word.push(found);
            self.next();
        }
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        let hashes = (0..).take_while(|ahead| self.peek(*ahead) == Some('#')).count();
        if raw && self.peek(hashes) == Some('"') {
            self.at += hashes + 1;
            let text = self.raw(hashes);
            self.push(line, Kind::Text(text));
        } else if matches!(word.as_str(), "b" | "c") && self.peek(0) == Some('"') {
            self.next();
            let text = self.quoted();
            self.push(line, Kind::Text(text));
        } else if word == "b" && self.peek(0) == Some('\'') {
            self.character_or_lifetime();
        } else {
            self.push(line, Kind::Word(word));
        }
    }
}

/// The tokens that belong to items under `#[cfg(test)]`, as ranges of positions.
pub(crate) fn test_regions(tokens: &[Token]) -> Vec<Range<usize>> {
    let mut regions = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_cfg_test(&tokens[at..]) {
            let end = item_end(tokens, at);
            regions.push(at..end);
            at = end;
        } else {
            at += 1;
        }
    }
    regions
}

/// The tokens outside tests.
pub(crate) fn code_only(tokens: Vec<Token>) -> Vec<Token> {
    let regions = test_regions(&tokens);
    let outside = |at: &usize| !regions.iter().any(|region| region.contains(at));
    tokens.into_iter().enumerate().filter(|(at, _)| outside(at)).map(|(_, token)| token).collect()
}

fn is_cfg_test(tokens: &[Token]) -> bool {
    matches!(tokens, [hash, open, cfg, paren, test, close, ..]
        if hash.marks('#') && open.marks('[') && cfg.is("cfg") && paren.marks('(') && test.is("test") && close.marks(')'))
}

/// Where the item that begins at `at` ends: after its first group of braces, or after a semicolon before one.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0usize;
    for (place, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::Mark('{' | '(' | '[') => depth += 1,
            Kind::Mark('}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return place + 1;
                }
            }
            Kind::Mark(')' | ']') => depth = depth.saturating_sub(1),
            Kind::Mark(';') if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        code_only(tokens(source)).iter().filter_map(|token| token.word().map(str::to_owned)).collect()
    }

    #[test]
    fn comments_strings_characters_and_lifetimes_are_told_apart() {
        let source = r####"
            // not_code "
            /* nor /* nested */ this */
            fn f<'a>(x: &'a str) -> char { let s = "quoted \" // still"; let r = r#"raw " "#; let b = b"bytes"; '"' }
            let q = '\''; let end = b'"'; done
        "####;
        let texts: Vec<_> =
            tokens(source).iter().filter_map(|token| token.text().map(str::to_owned)).collect();
        assert_eq!(texts, [r#"quoted \" // still"#, "raw \" ", "bytes"]);
        let words = words(source);
        assert!(!words.iter().any(|word| word == "not_code" || word == "nested" || word == "still"));
        assert_eq!(words.last().map(String::as_str), Some("done"));
    }

    #[test]
    fn lines_are_counted_through_strings_and_comments() {
        let found = tokens("\"a\nb\"\n/* x\ny */ here");
        assert_eq!((found[1].line, found[1].word()), (4, Some("here")));
    }

    #[test]
    fn test_items_are_left_out_and_what_follows_is_kept() {
        assert_eq!(words("a #[cfg(test)] mod tests { fn b() {} } c"), ["a", "c"]);
        assert_eq!(words("a #[cfg(test)] const X: [u8; 2] = [1, 2]; c"), ["a", "c"]);
        assert_eq!(words("a #[cfg(test)] mod tests; c"), ["a", "c"]);
        assert_eq!(words("a #[cfg(not(test))] c"), ["a", "cfg", "not", "test", "c"]);
    }

    #[test]
    fn cut_off_sources_do_no_harm() {
        for source in ["\"", "r#\"", "'", "'\\", "/*", "b'", "#[cfg(test)]", "r#"] {
            tokens(source);
            test_regions(&tokens(source));
        }
    }
}
