//! Diagnostics for programs, and the pages that explain them.

use std::path::Path;

use eparch_pipeline::diagnostic::codes;
use eparch_pipeline::{Catalogue, Known, check_bytes, sarif};

use crate::common::{catalogue, checked};

const FAULTS: &str = include_str!("../fixtures/twelve-faults.yaml");

#[test]
fn r058_json_has_places_and_counts() {
    let json = checked(FAULTS).to_json();
    assert_eq!((&json["valid"], &json["errors"], &json["warnings"]), (&false.into(), &12.into(), &0.into()));
    assert_eq!(json["diagnostics"][1]["line"], 2);
    assert_eq!(json["diagnostics"][1]["column"], 10);
    assert_eq!(json["diagnostics"].as_array().unwrap().len(), 12);
}

#[test]
fn r058_sarif_points_at_rules_and_regions() {
    let log = sarif(&[checked(FAULTS), checked("name: a\n")]);
    let run = &log["runs"][0];
    assert_eq!(log["version"], "2.1.0");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 13);
    for result in results {
        let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], result["ruleId"]);
        let region = &result["locations"][0]["physicalLocation"]["region"];
        assert!(region["startLine"].as_u64().unwrap() >= 1 && region["startColumn"].as_u64().unwrap() >= 1);
        assert!(region["endLine"].as_u64() >= region["startLine"].as_u64());
    }
}

#[test]
fn r058_every_code_has_a_page_and_every_page_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    for entry in codes::ALL {
        let page = std::fs::read_to_string(folder.join(format!("{}.md", entry.code))).unwrap_or_default();
        let title = format!("# {}: {}\n", entry.code, entry.title);
        assert!(page.starts_with(&title), "docs/errors/{}.md must begin with {title:?}", entry.code);
        assert!(page.contains("## What to try"), "{}", entry.code);
    }
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if let Some(code) = name.strip_suffix(".md").filter(|code| code.starts_with("EP01")) {
            assert!(codes::find(code).is_some(), "{name}");
        }
    }
}

#[test]
fn r058_a_file_that_is_not_text_is_told() {
    for (bytes, part) in [(&b"name: \xff\n"[..], "byte 6"), (b"\xff\xfen\0", "UTF-16"), (b"", "empty")] {
        let checked = check_bytes("a.yaml", bytes, &catalogue(), &Known::default());
        assert!(checked.pipeline.is_none());
        assert!(checked.diagnostics[0].message.contains(part), "{:?}", checked.diagnostics);
    }
}

#[test]
fn r060_templates_are_listed() {
    for template in Catalogue::built_in().iter() {
        assert!(!template.description().is_empty(), "{}", template.name());
    }
}
