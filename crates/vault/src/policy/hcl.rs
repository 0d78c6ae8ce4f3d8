//! Reads the policy language of Vault, as strictly as its strictest server: blocks `path "…" { … }` with one attribute a
//! line, and nothing else.

use eparch_domain::{Span, limits};

use super::acl::{Capability, Pattern, Policy, Rule, WrapBounds};

/// What is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct BadPolicy {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, and what is right.
    pub problem: String,
}

impl Policy {
    /// Reads a policy, or says where it is wrong. Its size, the number of its paths and the length of each word are
    /// bounded.
    pub fn parse(text: &str) -> Result<Policy, BadPolicy> {
        let mut lexer = Lexer { text, at: 0 };
        if text.len() > limits::VAULT_POLICY_BYTES {
            let problem = format!("a policy has at most {} bytes", limits::VAULT_POLICY_BYTES);
            return Err(BadPolicy { line: 1, column: 1, problem });
        }
        let mut rules: Vec<Rule> = Vec::new();
        loop {
            let token = lexer.next_beyond_lines()?;
            match token.kind {
                Kind::End => return Ok(Policy::new(rules)),
                Kind::Word("path") => {
                    if rules.len() == limits::VAULT_POLICY_PATHS {
                        let most = limits::VAULT_POLICY_PATHS;
                        return Err(lexer.bad(token.at, format!("a policy has at most {most} paths")));
                    }
                    rules.push(lexer.path(&rules)?);
                }
                other => {
                    return Err(lexer.bad(token.at, format!("expected `path \"…\" {{`, found {other}")));
                }
            }
        }
    }
}

/// A piece of the text and where it begins, in bytes.
#[derive(Debug, Clone, Copy)]
struct Token<'t> {
    at: usize,
    kind: Kind<'t>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind<'t> {
    Word(&'t str),
    Text(&'t str),
    Number(u64),
    Mark(char),
    Line,
    End,
}

impl std::fmt::Display for Kind<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Word(word) => write!(f, "`{}`", short(word)),
            Kind::Text(text) => write!(f, "\"{}\"", short(text)),
            Kind::Number(number) => write!(f, "{number}"),
            Kind::Mark(mark) => write!(f, "`{mark}`"),
            Kind::Line => f.write_str("the end of the line"),
            Kind::End => f.write_str("the end of the file"),
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    /// The block behind the word `path`.
    fn path(&mut self, before: &[Rule]) -> Result<Rule, BadPolicy> {
        let named = self.next()?;
        let Kind::Text(path) = named.kind else {
            return Err(self.bad(named.at, format!("expected a path in quotes, found {}", named.kind)));
        };
        let pattern = Pattern::new(path).map_err(|problem| self.bad(named.at, problem.to_owned()))?;
        if before.iter().any(|rule| rule.path == path) {
            return Err(self.bad(named.at, format!("the path \"{}\" is given twice", short(path))));
        }
        self.expect(Kind::Mark('{'))?;
        self.expect(Kind::Line)?;
        let mut capabilities: Option<Vec<Capability>> = None;
        let mut wrap = WrapBounds::default();
        loop {
            let token = self.next_beyond_lines()?;
            let twice = |is_twice: bool, name: &str| {
                if is_twice { Err(self.bad(token.at, format!("`{name}` is given twice"))) } else { Ok(()) }
            };
            match token.kind {
                Kind::Mark('}') => break,
                Kind::Word(name @ "capabilities") => {
                    twice(capabilities.is_some(), name)?;
                    self.expect(Kind::Mark('='))?;
                    capabilities = Some(self.capabilities()?);
                }
                Kind::Word(name @ "min_wrapping_ttl") => {
                    twice(wrap.least.is_some(), name)?;
                    wrap.least = Some(self.span()?);
                }
                Kind::Word(name @ "max_wrapping_ttl") => {
                    twice(wrap.most.is_some(), name)?;
                    wrap.most = Some(self.span()?);
                }
                other => {
                    let problem = format!(
                        "expected `capabilities`, `min_wrapping_ttl`, `max_wrapping_ttl` or `}}`, found {other}"
                    );
                    return Err(self.bad(token.at, problem));
                }
            }
            self.expect(Kind::Line)?;
        }
        let Some(capabilities) = capabilities else {
            return Err(self.bad(named.at, "a path needs `capabilities = […]`".to_owned()));
        };
        if let WrapBounds { least: Some(least), most: Some(most) } = wrap
            && least > most
        {
            let problem = "min_wrapping_ttl is longer than max_wrapping_ttl".to_owned();
            return Err(self.bad(named.at, problem));
        }
        let wrap = (wrap != WrapBounds::default()).then_some(wrap);
        Ok(Rule { path: path.to_owned(), pattern, capabilities, wrap })
    }

    /// `["read", "list"]`.
    fn capabilities(&mut self) -> Result<Vec<Capability>, BadPolicy> {
        self.expect(Kind::Mark('['))?;
        let mut found: Vec<Capability> = Vec::new();
        loop {
            let token = self.next_beyond_lines()?;
            match token.kind {
                Kind::Mark(']') => return Ok(found),
                Kind::Text(name) => {
                    let Some(capability) = Capability::named(name) else {
                        let known = Capability::ALL.map(Capability::name).join(", ");
                        let problem = format!("unknown capability \"{}\"; there are {known}", short(name));
                        return Err(self.bad(token.at, problem));
                    };
                    if found.contains(&capability) {
                        return Err(self.bad(token.at, format!("\"{name}\" is given twice")));
                    }
                    found.push(capability);
                }
                other => {
                    return Err(self.bad(token.at, format!("expected a capability in quotes, found {other}")));
                }
            }
            let token = self.next_beyond_lines()?;
            match token.kind {
                Kind::Mark(',') => {}
                Kind::Mark(']') => return Ok(found),
                other => return Err(self.bad(token.at, format!("expected `,` or `]`, found {other}"))),
            }
        }
    }

    /// `= "300s"`, or a number of seconds.
    fn span(&mut self) -> Result<Span, BadPolicy> {
        self.expect(Kind::Mark('='))?;
        let token = self.next()?;
        let span = match token.kind {
            Kind::Number(secs) => Some(Span::from_secs(secs)),
            Kind::Text(text) => text.parse::<Span>().ok(),
            _ => None,
        };
        // Servers count in whole seconds.
        let is_fine =
            |span: &Span| *span <= Span::MAX && span.millis().is_multiple_of(1_000) && !span.is_zero();
        span.filter(is_fine).ok_or_else(|| {
            let problem = format!("expected a time as in \"300s\", a second at least, found {}", token.kind);
            self.bad(token.at, problem)
        })
    }

    fn expect(&mut self, wanted: Kind<'_>) -> Result<(), BadPolicy> {
        let token = self.next()?;
        // A file may end without a line break.
        if token.kind == wanted || (wanted == Kind::Line && token.kind == Kind::End) {
            return Ok(());
        }
        Err(self.bad(token.at, format!("expected {wanted}, found {}", token.kind)))
    }

    fn next_beyond_lines(&mut self) -> Result<Token<'t>, BadPolicy> {
        loop {
            let token = self.next()?;
            if token.kind != Kind::Line {
                return Ok(token);
            }
        }
    }

    fn next(&mut self) -> Result<Token<'t>, BadPolicy> {
        self.skip()?;
        let at = self.at;
        let rest = &self.text[at..];
        let Some(first) = rest.chars().next() else { return Ok(Token { at, kind: Kind::End }) };
        let kind = match first {
            '\n' => {
                self.at += 1;
                Kind::Line
            }
            '{' | '}' | '[' | ']' | '=' | ',' => {
                self.at += 1;
                Kind::Mark(first)
            }
            '"' => self.quoted(at)?,
            '0'..='9' => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                self.at += digits;
                let number = rest[..digits].parse();
                Kind::Number(number.map_err(|_| self.bad(at, "the number is too large".to_owned()))?)
            }
            _ if first.is_ascii_alphabetic() => {
                let length =
                    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
                self.at += length;
                Kind::Word(&rest[..length])
            }
            _ => return Err(self.bad(at, format!("{first:?} has no place here"))),
        };
        Ok(Token { at, kind })
    }

    /// A text in quotes; a backslash, which would mean something else elsewhere, is refused.
    fn quoted(&mut self, at: usize) -> Result<Kind<'t>, BadPolicy> {
        let text = &self.text[at + 1..];
        let end = text.find(['"', '\n', '\\']);
        match end.map(|end| (end, text.as_bytes()[end])) {
            Some((end, b'"')) => {
                self.at = at + end + 2;
                Ok(Kind::Text(&text[..end]))
            }
            Some((end, b'\\')) => {
                Err(self.bad(at + 1 + end, "a backslash has no place in a policy".to_owned()))
            }
            _ => Err(self.bad(at, "the quotes are not closed on this line".to_owned())),
        }
    }

    /// Passes over spaces and remarks: `#` and `//` to the end of the line, `/*` to `*/`.
    fn skip(&mut self) -> Result<(), BadPolicy> {
        loop {
            let rest = &self.text[self.at..];
            let spaces = rest.bytes().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
            self.at += spaces;
            let rest = &rest[spaces..];
            if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Err(self.bad(self.at, "the remark is not closed with */".to_owned()));
                };
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn bad(&self, at: usize, problem: String) -> BadPolicy {
        let before = &self.text[..at];
        let line_begin = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        BadPolicy { line, column: before[line_begin..].chars().count() + 1, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn r128_a_policy_is_read_with_its_remarks() {
        let text = "# one\n// two\n/* three\n*/\npath \"secret/data/a\" {\n  capabilities = [\n    \"read\", # why\n    \"list\",\n  ]\n\
                    min_wrapping_ttl = \"1s\"\n  max_wrapping_ttl = 300\n}\n\npath \"b/*\" {\n capabilities = []\n}";
        let policy = Policy::parse(text).unwrap();
        let [first, second] = policy.rules() else { panic!("{policy:?}") };
        assert_eq!(first.path, "secret/data/a");
        assert_eq!(first.capabilities, [Capability::Read, Capability::List]);
        let bounds = WrapBounds { least: Some(Span::from_secs(1)), most: Some(Span::from_mins(5)) };
        assert_eq!(first.wrap, Some(bounds));
        assert_eq!((second.capabilities.len(), second.wrap), (0, None));
        assert_eq!(Policy::parse("").unwrap().rules().len(), 0);
    }

    #[test]
    fn r128_an_unknown_capability_is_refused_with_its_place() {
        assert_eq!(
            problem("path \"a\" {\n  capabilities = [\"read\", \"wriet\"]\n}\n"),
            "line 2, column 27: unknown capability \"wriet\"; there are create, read, update, patch, delete, list, sudo, deny"
        );
    }

    #[test]
    fn r128_every_other_slip_is_refused_with_its_place() {
        let cases = [
            ("paht \"a\" {\n}\n", "line 1, column 1: expected `path \"…\" {`, found `paht`"),
            ("path a {\n}\n", "line 1, column 6: expected a path in quotes, found `a`"),
            ("path \"a\" {\n}\n", "line 1, column 6: a path needs `capabilities = […]`"),
            (
                "path \"a\" { capabilities = [\"read\"] }",
                "line 1, column 12: expected the end of the line, found `capabilities`",
            ),
            (
                "path \"a\" {\n capabilities = [\"read\"] min_wrapping_ttl = \"1s\"\n}",
                "line 2, column 26: expected the end of the line, found `min_wrapping_ttl`",
            ),
            (
                "path \"a\" {\n capabilities = [\"read\" \"list\"]\n}",
                "line 2, column 25: expected `,` or `]`, found \"list\"",
            ),
            (
                "path \"a\" {\n capabilities = [\"read\", \"read\"]\n}",
                "line 2, column 26: \"read\" is given twice",
            ),
            (
                "path \"a\" {\n capabilities = [read]\n}",
                "line 2, column 18: expected a capability in quotes, found `read`",
            ),
            (
                "path \"a\" {\n capabilities = []\n capabilities = []\n}",
                "line 3, column 2: `capabilities` is given twice",
            ),
            (
                "path \"a\" {\n policy = \"write\"\n}",
                "line 2, column 2: expected `capabilities`, `min_wrapping_ttl`, `max_wrapping_ttl` or `}`, found `policy`",
            ),
            (
                "path \"a\" {\n min_wrapping_ttl = \"1500ms\"\n}",
                "line 2, column 21: expected a time as in \"300s\", a second at least, found \"1500ms\"",
            ),
            (
                "path \"a\" {\n capabilities = []\n min_wrapping_ttl = 9\n max_wrapping_ttl = 3\n}",
                "line 1, column 6: min_wrapping_ttl is longer than max_wrapping_ttl",
            ),
            (
                "path \"a\" {\n capabilities = []\n}\npath \"a\" {\n capabilities = []\n}",
                "line 4, column 6: the path \"a\" is given twice",
            ),
            ("path \"a\\\"\" {\n}", "line 1, column 8: a backslash has no place in a policy"),
            ("path \"a\n\" {\n}", "line 1, column 6: the quotes are not closed on this line"),
            ("path \"a\" {\n /* x\n", "line 2, column 2: the remark is not closed with */"),
            ("path \"a*b\" {\n", "line 1, column 6: `*` stands at the end of a path only"),
            ("path \"a/+b\" {\n", "line 1, column 6: `+` stands for one whole part of a path"),
            ("path \"\" {\n", "line 1, column 6: a path is not empty, and begins with no `/`"),
            ("path \"a{{b}}\" {\n", "line 1, column 6: what a path is filled in with is not read here"),
            ("ö", "line 1, column 1: 'ö' has no place here"),
            (
                "path \"a\" {\n capabilities = []\n",
                "line 3, column 1: expected `capabilities`, `min_wrapping_ttl`, `max_wrapping_ttl` or `}`, found the end of the file",
            ),
            (
                "path \"a\" {\n min_wrapping_ttl = 99999999999999999999\n",
                "line 2, column 21: the number is too large",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(problem(text), expected, "{text}");
        }
    }

    #[test]
    fn a_policy_is_bounded() {
        let path = |number: usize| format!("path \"a{number}\" {{\n capabilities = []\n}}\n");
        let many: String = (0..limits::VAULT_POLICY_PATHS).map(path).collect();
        assert!(Policy::parse(&many).is_ok());
        assert!(problem(&(many + &path(9_999))).contains("at most 1000 paths"));
        assert!(problem(&"#".repeat(limits::VAULT_POLICY_BYTES + 1)).contains("bytes"));
        assert!(Policy::parse(&"#".repeat(limits::VAULT_POLICY_BYTES)).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|([a-z{}\\[\\]=\",#/*\\n +]|path \"|capabilities = |\"read\"|/\\*|é){0,60}") {
            if let Err(bad) = Policy::parse(&text) {
                prop_assert!(bad.line >= 1 && bad.line <= text.lines().count() + 1 && bad.column >= 1);
            }
        }

        #[test]
        fn what_is_written_as_a_policy_is_read_as_one(
            rules in proptest::collection::btree_map("[a-z]{1,5}(/[a-z]{1,3}|/\\+){0,3}[*]?", proptest::sample::subsequence(Capability::ALL.to_vec(), 0..=8), 0..8),
            junk in "( |\t|# x\n|/\\* \n \\*/)?",
        ) {
            let mut text = String::new();
            for (path, capabilities) in &rules {
                let names: Vec<String> = capabilities.iter().map(|one| format!("\"{}\"", one.name())).collect();
                text.push_str(&format!("{junk}\npath \"{path}\" {{\n{junk}capabilities = [{}]\n}}\n", names.join(", ")));
            }
            let policy = Policy::parse(&text).unwrap();
            let read: Vec<_> = policy.rules().iter().map(|rule| (rule.path.clone(), rule.capabilities.clone())).collect();
            prop_assert_eq!(read, rules.into_iter().collect::<Vec<_>>());
        }
    }
}
