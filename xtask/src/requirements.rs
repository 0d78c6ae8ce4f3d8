//! Which requirement rows have an automated test. A test names its rows: `r012_…` in its function's name, or `R012` in
//! the comment directly above it; a scenario in a remark. A row that is demanded and has no test fails.

use std::collections::{BTreeMap, BTreeSet};

use crate::steps::{Problem, StepResult};
use crate::tree::Tree;

const TABLE: &str = "docs/requirements.tsv";

/// The tests of this file speak of rows without proving any.
const SPEAKS_OF_ROWS: &str = "xtask/src/requirements.rs";

/// `cargo xtask requirements`.
pub(crate) fn run(tree: &Tree, all: bool) -> StepResult {
    let rows = parse(&tree.read(TABLE)?)?;
    let named = rows_named(tree)?;
    let (covered, open): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| named.contains_key(&row.id));
    let demanded: Vec<&&Row> = open.iter().filter(|row| row.demanded).collect();
    let early = covered.iter().filter(|row| !row.demanded).count();
    let count = rows.iter().filter(|row| row.demanded).count();
    let mut note =
        format!("{} of {count} demanded rows have a test, and {early} later ones", count - demanded.len());
    if all {
        for row in &rows {
            let tests = named.get(&row.id).map(|files| files.iter().cloned().collect::<Vec<_>>().join(", "));
            let state = if row.demanded { "demanded" } else { "later" };
            let line = format!("{} {state:<8} {:<70} {}", row.id, row.text, tests.unwrap_or_default());
            note = format!(
                "{note}
{}",
                line.trim_end()
            );
        }
    }
    let mut lines: Vec<String> =
        demanded.iter().map(|row| format!("{} has no test: {} ({})", row.id, row.text, row.issue)).collect();
    let unknown = named.iter().filter(|(id, _)| !rows.iter().any(|row| row.id == **id));
    lines.extend(unknown.map(|(id, files)| {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        format!("{id} is named in {} and is no row of {TABLE}", files.join(", "))
    }));
    if lines.is_empty() {
        return Ok(note);
    }
    if all {
        println!("{note}");
    }
    Err(Problem { lines })
}

/// One requirement.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: String,
    text: String,
    demanded: bool,
    issue: String,
}

/// `ID<tab>REQUIREMENT<tab>demanded|later<tab>ISSUE`, under one line of headings.
fn parse(table: &str) -> Result<Vec<Row>, Problem> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, line) in table.lines().enumerate().skip(1) {
        let place = format!("{TABLE}:{}", number + 1);
        let [id, text, state, issue] = line.split('\t').collect::<Vec<_>>()[..] else {
            return Err(Problem::new(format!("{place}: expected four columns with tabs between")));
        };
        let expected = format!("R{:03}", rows.len() + 1);
        if id != expected {
            return Err(Problem::new(format!(
                "{place}: expected {expected}, found {id}; rows are in order and gapless"
            )));
        }
        let demanded = match state {
            "demanded" => true,
            "later" => false,
            _ => return Err(Problem::new(format!("{place}: a row is `demanded` or `later`, not {state:?}"))),
        };
        if text.is_empty() || issue.is_empty() {
            return Err(Problem::new(format!("{place}: the requirement or its issue is missing")));
        }
        rows.push(Row { id: id.to_owned(), text: text.to_owned(), demanded, issue: issue.to_owned() });
    }
    Ok(rows)
}

/// Every row that tests name, with the files that do.
fn rows_named(tree: &Tree) -> Result<BTreeMap<String, BTreeSet<String>>, Problem> {
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in tree.files()? {
        let ids = match file.rsplit_once('.') {
            _ if file == SPEAKS_OF_ROWS => continue,
            Some((_, "rs")) => ids_in_tests(&tree.read(&file)?),
            Some((_, "scn")) => ids_in_scenario(&tree.read(&file)?),
            _ => continue,
        };
        for id in ids {
            named.entry(id).or_default().insert(file.clone());
        }
    }
    Ok(named)
}

/// The rows that the tests of a source name: in their names, and in the comments and attributes directly above them. What a
/// module, a helper or a body says about rows proves none.
fn ids_in_tests(source: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut above: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") || (line.starts_with("//") && !line.starts_with("//!")) {
            above.push(line);
            continue;
        }
        let is_test = above.iter().any(|line| is_test_attribute(line));
        if let Some(name) = function(line).filter(|_| is_test) {
            ids.extend(ids_in(name));
            ids.extend(above.iter().filter(|line| line.starts_with("//")).flat_map(|line| ids_in(line)));
        }
        above.clear();
    }
    ids
}

/// `#[test]`, `#[tokio::test(…)]`.
fn is_test_attribute(line: &str) -> bool {
    let path = line.strip_prefix("#[").and_then(|rest| rest.split(['(', ']']).next());
    path.is_some_and(|path| path.rsplit("::").next() == Some("test"))
}

/// The name of the function that begins in a line.
fn function(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches("pub(crate) ").trim_start_matches("async ").strip_prefix("fn ")?;
    Some(&rest[..rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))?])
}

/// The rows that a scenario names in its remarks.
fn ids_in_scenario(text: &str) -> BTreeSet<String> {
    text.lines().filter(|line| line.starts_with('#')).flat_map(ids_in).collect()
}

/// Every `R012` or `r012` that stands for itself or between underscores.
fn ids_in(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let is_id = |at: &usize| {
        let before = at.checked_sub(1).is_none_or(|before| !bytes[before].is_ascii_alphanumeric());
        let digits = bytes[*at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let after = bytes.get(*at + 4).is_none_or(|after| !after.is_ascii_alphanumeric());
        before && digits == 3 && after
    };
    let starts = (0..bytes.len()).filter(|at| matches!(bytes[*at], b'R' | b'r')).filter(is_id);
    starts.map(|at| format!("R{}", &text[at + 1..at + 4])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_names_and_comments() {
        let found = ids_in("fn r012_r013_x() {} // R121, r1234 xR001 R12 R122\nr_001 R009");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["R009", "R012", "R013", "R121", "R122"].map(|id| id)
        );
    }

    #[test]
    fn only_tests_count_in_a_source() {
        let source = "//! R900\n/// R901\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n    // R902\n\n    /// R903\n    #[test]\n    \
            fn r904_r905_x() {\n        // R906\n        r907();\n    }\n\n    // R908\n    fn r909_helper() {}\n\n    \
            #[tokio::test(flavor = \"x\")]\n    // R910\n    async fn y() {}\n}\n// R911\n";
        let found: Vec<String> = ids_in_tests(source).into_iter().collect();
        assert_eq!(found, ["R903", "R904", "R905", "R910"]);
    }

    #[test]
    fn a_scenario_names_rows_in_its_remarks() {
        let found: Vec<String> =
            ids_in_scenario("# R900: it waits\nrun R901\n# r902\n").into_iter().collect();
        assert_eq!(found, ["R900", "R902"]);
    }

    #[test]
    fn a_table_with_a_hole_or_a_wrong_word_is_refused() {
        let good = "id\trequirement\tstate\tissue\nR001\ta\tdemanded\tcore\nR002\tb\tlater\tdoors\n";
        assert_eq!(parse(good).unwrap().iter().map(|row| row.demanded).collect::<Vec<_>>(), [true, false]);
        assert!(parse(&good.replace("R002", "R003")).is_err());
        assert!(parse(&good.replace("later", "soon")).is_err());
        assert!(parse(&good.replace("\tdoors", "")).is_err());
    }
}
