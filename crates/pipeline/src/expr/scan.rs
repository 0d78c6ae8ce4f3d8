//! A look at an expression before the parser sees it: the parser and the evaluator call themselves once per level, and an
//! overflowing stack cannot be caught. An expression of 400 bytes is enough for that, so depth is bounded here.

use eparch_domain::limits;

use super::ExprError;

/// Refuses an expression that nests or chains too deeply, or whose quoted texts do not end where they seem to.
pub(super) fn scan(source: &str) -> Result<(), ExprError> {
    let mut scanner = Scanner { source, at: 0, levels: vec![Level::default()] };
    while let Some(found) = scanner.peek() {
        scanner.step(found)?;
    }
    Ok(())
}

struct Scanner<'s> {
    source: &'s str,
    at: usize,
    levels: Vec<Level>,
}

/// What one pair of brackets holds so far.
#[derive(Default, Clone, Copy)]
struct Level {
    /// Operators and selections since the last `&&`, `||`, `?`, `:` or comma: they nest in the tree, one in the other.
    chain: usize,
    /// Ternaries since the last comma: each nests in the one before it.
    ternaries: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn starts(&self, text: &str) -> bool {
        self.source[self.at..].starts_with(text)
    }

    fn refuse<T>(&self, offset: usize, message: impl Into<String>) -> Result<T, ExprError> {
        Err(ExprError { message: message.into(), offset })
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the outermost level is never taken off")
    }

    fn step(&mut self, found: char) -> Result<(), ExprError> {
        match found {
            '\'' | '"' => return self.quoted(false),
            'a'..='z' | 'A'..='Z' | '_' => return self.word(),
            '/' if self.starts("//") => {
                self.at += self.source[self.at..].find('\n').unwrap_or(self.source.len() - self.at);
                return Ok(());
            }
            '(' | '[' | '{' => {
                self.level().chain += 1;
                self.levels.push(Level::default());
            }
            ')' | ']' | '}' if self.levels.len() > 1 => {
                self.levels.pop();
            }
            ',' => *self.level() = Level::default(),
            '?' => {
                let level = self.level();
                *level = Level { chain: 0, ternaries: level.ternaries + 1 };
            }
            ':' => self.level().chain = 0,
            '&' | '|' if self.starts("&&") || self.starts("||") => {
                self.level().chain = 0;
                self.at += 1;
            }
            '.' | '+' | '-' | '*' | '/' | '%' | '<' | '>' | '=' | '!' => {
                self.level().chain += 1;
                if self.starts("==") || self.starts("!=") || self.starts("<=") || self.starts(">=") {
                    self.at += 1;
                }
            }
            _ => {}
        }
        let depth: usize = self.levels.iter().map(|level| level.chain + level.ternaries).sum();
        if self.levels.len() > limits::PIPELINE_DEPTH || depth > limits::EXPRESSION_DEPTH {
            return self
                .refuse(self.at, "the expression nests too deeply; split it into several stages' outputs");
        }
        self.at += found.len_utf8();
        Ok(())
    }

    fn word(&mut self) -> Result<(), ExprError> {
        let rest = &self.source[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (start, word) = (self.at, &rest[..length]);
        self.at += length;
        if word == "in" {
            self.level().chain += 1;
        }
        match self.peek() {
            Some('\'' | '"') => match word {
                "b" | "B" => self.quoted(false),
                "r" | "R" | "br" | "bR" | "Br" | "BR" => self.quoted(true),
                _ => self.refuse(start, format!("unexpected text after `{word}`")),
            },
            _ => Ok(()),
        }
    }

    fn quoted(&mut self, raw: bool) -> Result<(), ExprError> {
        let start = self.at;
        let quote = if self.starts("'") { "'" } else { "\"" };
        let triple = self.starts(&quote.repeat(3));
        let end = if triple { quote.repeat(3) } else { quote.to_owned() };
        self.at += end.len();
        loop {
            if self.starts(&end) {
                self.at += end.len();
                return Ok(());
            }
            match self.peek() {
                None => return self.refuse(start, "the quoted text is not closed"),
                Some('\n' | '\r') if !triple => {
                    return self.refuse(start, "the quoted text is not closed on its line");
                }
                Some('\\') if !raw => self.escape()?,
                Some(other) => self.at += other.len_utf8(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), ExprError> {
        let start = self.at;
        let letter = self.source[self.at + 1..].chars().next();
        let digits = |count: usize, radix: u32| {
            let found = self.source.get(start + 2..start + 2 + count);
            found.is_some_and(|found| found.chars().all(|c| c.is_digit(radix)))
        };
        let length = match letter {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '?' | '"' | '\'' | '`') => 2,
            Some('x' | 'X') if digits(2, 16) => 4,
            Some('u') if digits(4, 16) => 6,
            Some('U') if digits(8, 16) => 10,
            Some('0'..='3') if digits(2, 8) => 4,
            _ => return self.refuse(start, "unknown escape; write \\\\ for a backslash"),
        };
        self.at += length;
        Ok(())
    }
}
