//! Plans and pictures.

use std::collections::BTreeMap;

use eparch_domain::{Span, Tier, is_harmful};
use eparch_pipeline::{Pipeline, Plan, Retries};
use serde_json::json;

use crate::common::{checked, found};

fn pipeline() -> Pipeline {
    checked(include_str!("../fixtures/everything.yaml")).pipeline.unwrap()
}

fn plan(grant: Tier) -> Plan {
    let pipeline = pipeline();
    let inputs = pipeline.bind(&BTreeMap::from([("ticket".to_owned(), "T-1".to_owned())])).unwrap();
    Plan::of(&pipeline, &inputs, &BTreeMap::new(), grant)
}

#[test]
fn r043_a_tier_above_the_grant_is_refused() {
    assert!(!plan(Tier::T3).is_refused());
    let refused = plan(Tier::T1);
    assert!(refused.is_refused());
    let told: Vec<&str> =
        refused.findings.iter().filter(|one| one.refused).map(|one| one.stage.as_str()).collect();
    assert_eq!(told, ["report", "experts", "careful"]);
    assert_eq!(refused.findings.iter().find(|one| one.refused).unwrap().code, Some("EP0194"));
}

#[test]
fn r061_a_plans_name_is_of_its_definition_and_inputs() {
    let pipeline = pipeline();
    let bound =
        |ticket: &str| pipeline.bind(&BTreeMap::from([("ticket".to_owned(), ticket.to_owned())])).unwrap();
    let first = Plan::of(&pipeline, &bound("a"), &BTreeMap::new(), Tier::T4).plan_id;
    assert_eq!(Plan::of(&pipeline, &bound("a"), &BTreeMap::new(), Tier::T0).plan_id, first);
    assert_ne!(Plan::of(&pipeline, &bound("b"), &BTreeMap::new(), Tier::T4).plan_id, first);
}

#[test]
fn r045_stages_stand_in_waves() {
    let plan = plan(Tier::T4);
    let waves: Vec<Vec<&str>> =
        plan.waves.iter().map(|wave| wave.iter().map(|step| step.name.as_str()).collect()).collect();
    assert_eq!(waves, [vec!["plan"], vec!["review", "checks", "experts"], vec!["agreed"], vec!["route"]]);
    let json = serde_json::to_value(&plan).unwrap();
    let first = &json["waves"][0][0];
    assert_eq!(first["type"], "agent");
    assert_eq!(first["command"], json!(["python3", "plan.py", "--env", "staging", "--count", "3"]));
    assert_eq!((&first["tier"], &first["attempts"]), (&json!(1), &json!(3)));
    assert_eq!(json["waves"][1][1]["branches"][1]["waves"][1][0]["name"], "report");
}

#[test]
fn r044_the_longest_run_is_known_and_never_past_the_timeout() {
    assert_eq!(plan(Tier::T4).worst_case, Span::from_hours(4));
    let short = checked(
        "name: a
stages:
- name: b
  type: agent
  config: {command: [c], timeout: 9m, attempt_timeout: 1m, start_timeout: 10s, retries: {max: 2, backoff: 5s}}
- {name: g, type: gate, requires: [b], config: {approvers: [x], timeout: 1h}}
- {name: d, type: agent, config: {command: [c], timeout: 5m}}
",
    );
    let plan = Plan::of(&short.pipeline.unwrap(), &BTreeMap::new(), &BTreeMap::new(), Tier::T4);
    // Three attempts of 70 s, waits of 5 s and 10 s with a quarter more of each, then an hour.
    assert_eq!(plan.worst_case, Span::from_millis(1_000 * (3 * 70 + 3600) + 18_750));
    let waits = checked(
        "name: a\nstages: [{name: b, type: agent, config: {command: [c], timeout: 9m, attempt_timeout: 1m, locks: [d]}}]\n",
    );
    let plan = Plan::of(&waits.pipeline.unwrap(), &BTreeMap::new(), &BTreeMap::new(), Tier::T4);
    assert_eq!(plan.worst_case, Span::from_mins(9), "it may wait for its lock until its time is over");
}

#[test]
fn r044_waits_double_up_to_their_limit_from_the_first_on() {
    let retries = Retries { max: 3, backoff: Span::from_mins(4) };
    let minutes = |span: Span| span.millis() / 60_000;
    assert_eq!([2, 3, 4, 40].map(|next| minutes(retries.wait(next))), [4, 8, 10, 10]);
    assert_eq!([2, 3].map(|next| minutes(retries.longest_wait(next))), [5, 10]);
    let long = Retries { max: 1, backoff: Span::from_hours(1) };
    assert_eq!(long.longest_wait(2), Span::from_secs(750));
}

/// A file chooses the words of its plan; it must not choose the lines.
#[test]
fn r058_a_plan_cannot_be_painted_over() {
    let plan = |trick: &str| {
        let text = format!(
            r#"
name: a
inputs: {{x: {{default: "{trick}"}}}}
stages:
- name: b
  type: agent
  config:
    objective: "{trick}"
    command: [echo, "{trick}"]
    env: {{A: "{trick}"}}
    paths: {{read: ["x{trick}", "${{{{ inputs.x }}}}"], write: ["{trick}"]}}
    verify: [[test, "{trick}"]]
    artifacts: ["x{trick}"]
- {{name: c, type: condition, requires: [b], if: "inputs.x == '''{trick}'''", then: [{{name: d, type: agent, config: {{command: [e]}}}}]}}
"#
        );
        let checked = checked(&text);
        let pipeline = checked.pipeline.clone().unwrap_or_else(|| panic!("{}", checked.to_text()));
        let inputs = pipeline.bind(&BTreeMap::new()).unwrap();
        (
            Plan::of(&pipeline, &inputs, &BTreeMap::new(), Tier::T4).to_string(),
            pipeline.mermaid(),
            pipeline.dot(),
            pipeline.svg(),
        )
    };
    let (honest, mermaid, dot, svg) = plan("y");
    let (forged, forged_mermaid, forged_dot, forged_svg) =
        plan(r"y\nplan sha256:000\e[8m\r\x07\u202e\u2066\u2028\N");
    assert_eq!(forged.lines().count(), honest.lines().count(), "{forged}");
    assert_eq!(forged_mermaid.lines().count(), mermaid.lines().count());
    assert_eq!(forged_dot.lines().count(), dot.lines().count());
    assert_eq!(forged_svg.lines().count(), svg.lines().count());
    for text in [forged, forged_mermaid, forged_dot, forged_svg] {
        assert!(!text.contains(|c| c != '\n' && is_harmful(c)), "{text:?}");
    }
}

#[test]
fn r042_a_version_is_one_word() {
    let text = |version: &str| {
        format!(
            "name: a\nversion: {version}\nstages:\n- {{name: b, type: agent, config: {{command: [c]}}}}\n"
        )
    };
    for version in ["1", "1.10", "\"1.0\"", "v2-rc.1+x"] {
        assert_eq!(found(&text(version)), [], "{version}");
    }
    for version in ["\"1.0 plan\"", "\"1\\e[8m\"", "\"\"", "-x"] {
        assert_eq!(found(&text(version)), [("EP0114", 2, 10)], "{version}");
    }
    assert_eq!(checked(&text("1.10")).pipeline.unwrap().version, "1.10");
}

/// What is cut says so: a command's end may be what matters.
#[test]
fn r058_what_a_plan_leaves_out_is_counted() {
    let text = format!(
        "name: a\nstages:\n- {{name: b, type: agent, config: {{command: [echo, {}, the-end]}}}}\n",
        "x".repeat(5_000)
    );
    let plan =
        Plan::of(&checked(&text).pipeline.unwrap(), &BTreeMap::new(), &BTreeMap::new(), Tier::T0).to_string();
    let line = plan.lines().find(|line| line.contains("command:")).unwrap();
    assert!(line.ends_with("… and 4022 more letters"), "{}", &line[900..]);
}

#[test]
fn r058_a_plan_reads_well() {
    let plan = plan(Tier::T2);
    // Its name changes with everything in it; that it does is another test's.
    insta::assert_snapshot!("plan", plan.to_string().replace(&plan.plan_id.to_string(), "sha256:…"));
}

#[test]
fn pictures_are_escaped_and_nested() {
    insta::assert_snapshot!("mermaid", pipeline().mermaid());
    insta::assert_snapshot!("dot", pipeline().dot());
    insta::assert_snapshot!("svg", pipeline().svg());
}

/// An image may stand in any page: nothing a file says becomes markup.
#[test]
fn a_drawing_has_no_markup_of_the_files() {
    let text = r#"
name: a
inputs: {x: {type: string, default: y}}
stages:
- name: d
  type: condition
  if: inputs.x == '</text><script>&"'
  then: [{name: e, type: agent, config: {command: [f]}}]
"#;
    let svg = checked(text).pipeline.unwrap().svg();
    assert!(svg.contains("&lt;/text&gt;&lt;script&gt;&amp;&quot;"), "{svg}");
    assert!(!svg.contains("<script"));
}

#[test]
fn a_drawing_of_the_deepest_and_widest_pipeline_is_made() {
    let agents: String =
        (0..500).map(|at| format!("- {{name: a{at}, type: agent, config: {{command: [c]}}}}\n")).collect();
    let chain: String = (1..400)
        .map(|at| {
            format!(
                "- {{name: b{at}, type: agent, requires: [{}], config: {{command: [c]}}}}\n",
                if at == 1 { "a0".to_owned() } else { format!("b{}", at - 1) }
            )
        })
        .collect();
    let svg = checked(&format!("name: a\nstages:\n{agents}{chain}")).pipeline.unwrap().svg();
    assert_eq!(svg.matches("<rect").count(), 899);
    assert_eq!(svg.matches("class=\"edge\"").count(), 399);
}
