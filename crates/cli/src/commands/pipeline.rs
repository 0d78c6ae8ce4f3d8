//! Pipelines as files: validate, plan, draw, templates; and starting a run of a saved plan.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eparch_daemon::wire::{StartRun, Started};
use eparch_daemon::{HomeError, random_bits};
use eparch_domain::{Tier, limits};
use eparch_pipeline::{Catalogue, Checked, InputProblem, Known, Pipeline, Plan, plan_id};
use serde_json::{Value, json};

use super::known::known;
use super::plans::{self, SavedPlan};
use super::{block_on, run};
use crate::args::{self, Command, Format, Mode, Request};
use crate::context::{Context, print_json};
use crate::failure::{Failure, exit};
use crate::holder::Desk;
use crate::output::outln;
use crate::paint::{self, Paint};
use crate::table::{Table, plain};

/// `eparch pipeline …`.
pub(crate) fn carry_out(context: &Context, command: args::Pipeline) -> Result<u8, Failure> {
    match command {
        args::Pipeline::Validate { files } => block_on(validate(context, &files)),
        args::Pipeline::Plan { file, request, save } => block_on(plan(context, &file, &request, save)),
        args::Pipeline::Graph { file } => block_on(graph(context, &file)),
        args::Pipeline::List { json } => list(json || context.is_json()),
        args::Pipeline::Run(asked) => block_on(run::run(context, &asked)),
        args::Pipeline::Spawn { plan, tier } => block_on(spawn(context, &plan, tier)),
    }
}

/// The formats beside text and JSON that a command has.
pub(crate) fn own_formats(command: &Command) -> &'static [Format] {
    match command {
        Command::Pipeline(args::Pipeline::Validate { .. }) => &[Format::Sarif],
        Command::Pipeline(args::Pipeline::Graph { .. }) => &[Format::Mermaid, Format::Dot, Format::Svg],
        _ => &[],
    }
}

async fn validate(context: &Context, files: &[std::path::PathBuf]) -> Result<u8, Failure> {
    let known = known(context).await?;
    let catalogue = Catalogue::built_in();
    let mut all = Vec::new();
    for file in files {
        all.push(read_and_check(file, &catalogue, &known)?);
    }
    match context.format() {
        Format::Sarif => print_json(&eparch_pipeline::sarif(&all))?,
        Format::Json => {
            let files: Vec<Value> = all.iter().map(Checked::to_json).collect();
            let valid = all.iter().all(|file| file.pipeline.is_some());
            print_json(&json!({ "valid": valid, "files": files }))?;
        }
        _ => {
            all.iter().for_each(|file| crate::output::out(format_args!("{}", problems(file, paint::out()))));
            all.iter().filter(|file| file.pipeline.is_none() || !context.is_quiet()).for_each(summarise);
        }
    }
    Ok(if all.iter().all(|file| file.pipeline.is_some()) { exit::DONE } else { exit::BAD_DOCUMENT })
}

fn warnings(file: &Checked) -> String {
    match file.diagnostics.len() - file.errors() {
        0 => String::new(),
        1 => ", with 1 warning".to_owned(),
        many => format!(", with {many} warnings"),
    }
}

fn summarise(file: &Checked) {
    let paint = paint::out();
    let many = if file.errors() == 1 { "error" } else { "errors" };
    match file.pipeline.is_some() {
        true => outln!("{}: {}{}", file.file, paint.good("valid"), warnings(file)),
        false => {
            outln!("{}: {}: {} {many}{}", file.file, paint.bad("not valid"), file.errors(), warnings(file))
        }
    }
}

/// Reads a pipeline's file and checks it.
pub(crate) fn read_and_check(path: &Path, catalogue: &Catalogue, known: &Known) -> Result<Checked, Failure> {
    let name = path.display().to_string();
    let cannot = |problem: &dyn std::fmt::Display| {
        Failure::new("EP0702", format!("cannot read {name}: {problem}"))
            .hint("name a file that is there and that you may read")
            .exit(exit::BAD_DOCUMENT)
    };
    // A file without an end must not fill the memory: one byte past the limit is enough to refuse it.
    let file = fs::File::open(path).map_err(|problem| cannot(&problem))?;
    let mut bytes = Vec::new();
    let limit = limits::PIPELINE_BYTES as u64 + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes)
        .map_err(|problem| cannot(&problem))?;
    Ok(eparch_pipeline::check_bytes(&name, &bytes, catalogue, known))
}

/// What is wrong with a file, or worth a look, in words.
fn problems(file: &Checked, paint: Paint) -> String {
    let text = file.to_text();
    if !paint.is_coloured() {
        return text;
    }
    let line = |line: &str| match line.split_once(": ") {
        Some((kind, rest)) if kind.starts_with("error[") => {
            format!("{}: {}\n", paint.bad(kind), paint.bold(rest))
        }
        Some((kind, rest)) if kind.starts_with("warning[") => {
            format!("{}: {}\n", paint.warn(kind), paint.bold(rest))
        }
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Reads and checks a file that must be a pipeline; shows what is wrong and what is worth a look.
pub(crate) async fn read_pipeline(context: &Context, path: &Path) -> Result<(Checked, Pipeline), Failure> {
    let known = known(context).await?;
    let checked = read_and_check(path, &Catalogue::built_in(), &known)?;
    if context.is_json() && checked.pipeline.is_none() {
        let detail = checked.to_text();
        return Err(not_valid(&checked).detail(detail.trim_end()));
    }
    // JSON has them in the answer; of a valid pipeline, there are warnings only.
    if !(context.is_json() || context.is_quiet() && checked.pipeline.is_some()) {
        crate::output::err(format_args!("{}", problems(&checked, paint::err())));
    }
    match checked.pipeline.clone() {
        Some(pipeline) => Ok((checked, pipeline)),
        None => Err(not_valid(&checked)),
    }
}

fn not_valid(checked: &Checked) -> Failure {
    let errors = match checked.errors() {
        1 => "1 error".to_owned(),
        many => format!("{many} errors"),
    };
    Failure::new("EP0703", format!("{} is not a valid pipeline: {errors}", checked.file))
        .hint(format!("correct the file; `eparch pipeline validate {}` checks it again", checked.file))
        .exit(exit::BAD_DOCUMENT)
}

/// The inputs that were given, as texts; the same one twice is a mistake.
pub(crate) fn given(request: &Request) -> Result<BTreeMap<String, String>, Failure> {
    let mut given = BTreeMap::new();
    for (key, value) in &request.inputs {
        if given.insert(key.clone(), value.clone()).is_some() {
            return Err(Failure::new("EP0701", format!("--input {key} is given twice"))
                .hint("give it once")
                .exit(exit::USAGE));
        }
    }
    Ok(given)
}

/// Inputs of their declared types; undeclared ones are refused (R059).
pub(crate) fn bind(
    pipeline: &Pipeline,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, Failure> {
    pipeline.bind(given).map_err(|problems| {
        let first = problems.first();
        let code = first.map_or("EP0220", |problem| problem.code);
        let hint = first.and_then(|problem| problem.hint.clone()).unwrap_or_else(|| declared(pipeline));
        let line = |problem: &InputProblem| problem.message.clone();
        let message = problems.iter().map(line).collect::<Vec<_>>().join("; ");
        Failure::new(code, message).hint(hint).exit(exit::BAD_DOCUMENT)
    })
}

fn declared(pipeline: &Pipeline) -> String {
    let names: Vec<&str> = pipeline.inputs.keys().map(String::as_str).collect();
    match names.is_empty() {
        true => "the pipeline declares no inputs".to_owned(),
        false => format!("the pipeline's inputs are {}", names.join(", ")),
    }
}

/// What a mode needs that this build does not have.
pub(crate) fn check_mode(request: &Request) -> Result<(), Failure> {
    if request.mode == Mode::Openrouter || request.model.is_some() {
        return Err(Failure::new("EP0708", "calling models is not in this build")
            .hint("leave --mode and --model out and give each stage a `command`")
            .exit(exit::UNAVAILABLE));
    }
    Ok(())
}

/// What a run is asked for with, from a file that was read.
pub(crate) fn start_request(
    checked: &Checked,
    pipeline: &Pipeline,
    request: &Request,
) -> Result<StartRun, Failure> {
    Ok(StartRun {
        file: checked.file.clone(),
        pipeline: checked.text.clone(),
        inputs: given(request)?,
        tier: request.tier,
        timeout: request.timeout,
        root: root(request.root.as_deref())?,
        env: environment(pipeline),
        idempotency_key: Some(format!("{:032x}", random_bits())),
    })
}

/// The variables that the pipeline's expressions read, as they are here and now.
fn environment(pipeline: &Pipeline) -> BTreeMap<String, String> {
    pipeline
        .env_names()
        .into_iter()
        .filter_map(|name| std::env::var(&name).ok().map(|value| (name, value)))
        .collect()
}

fn root(asked: Option<&Path>) -> Result<String, Failure> {
    let folder = asked.unwrap_or(Path::new("."));
    let cannot = |problem: &str| {
        Failure::new("EP0701", format!("the project's folder {} cannot be used: {problem}", folder.display()))
            .hint("name a folder that is there with --root DIR")
            .exit(exit::USAGE)
    };
    let real = folder.canonicalize().map_err(|problem| cannot(&problem.to_string()))?;
    if !real.is_dir() {
        return Err(cannot("it is not a folder"));
    }
    real.into_os_string().into_string().map_err(|_| cannot("its path is not UTF-8"))
}

async fn plan(context: &Context, file: &Path, request: &Request, save: bool) -> Result<u8, Failure> {
    check_mode(request)?;
    let (checked, mut pipeline) = read_pipeline(context, file).await?;
    if let Some(timeout) = request.timeout {
        pipeline.timeout = pipeline.timeout.min(timeout);
    }
    let given = given(request)?;
    let inputs = bind(&pipeline, &given)?;
    let env = environment(&pipeline);
    let plan = Plan::of(&pipeline, &inputs, &env, request.tier.unwrap_or(limits::GRANT_UNASKED));
    if save {
        if request.timeout.is_some() {
            return Err(Failure::new("EP0701", "a kept plan has the pipeline's own timeout")
                .hint("leave --timeout out, or write it into the file")
                .exit(exit::USAGE));
        }
        let home = super::init::home_or_new(context)?;
        let root = root(request.root.as_deref())?;
        let saved = SavedPlan {
            plan_id: plan.plan_id,
            file: checked.file,
            pipeline: checked.text,
            inputs: given,
            env,
            root,
        };
        saved.save(&home)?;
    }
    if context.is_json() {
        print_json(&plan)?;
    } else {
        crate::output::out(format_args!("{plan}"));
        if save {
            outln!("\nKept. Start it with:\n  eparch pipeline spawn --plan {}", plan.plan_id);
        }
    }
    Ok(if plan.is_refused() { exit::FAILED } else { exit::DONE })
}

async fn graph(context: &Context, file: &Path) -> Result<u8, Failure> {
    let (_, pipeline) = read_pipeline(context, file).await?;
    match context.format() {
        Format::Dot => crate::output::out(format_args!("{}", pipeline.dot())),
        Format::Svg => crate::output::out(format_args!("{}", pipeline.svg())),
        Format::Json => print_json(
            &json!({ "mermaid": pipeline.mermaid(), "dot": pipeline.dot(), "svg": pipeline.svg() }),
        )?,
        _ => crate::output::out(format_args!("{}", pipeline.mermaid())),
    }
    Ok(exit::DONE)
}

fn list(as_json: bool) -> Result<u8, Failure> {
    let catalogue = Catalogue::built_in();
    if as_json {
        let templates: Vec<Value> = catalogue
            .iter()
            .map(|template| {
                json!({
                    "name": template.name(), "version": template.version(), "tier": template.tier(),
                    "tools": template.tools(), "description": template.description(), "digest": template.digest(),
                })
            })
            .collect();
        print_json(&templates)?;
        return Ok(exit::DONE);
    }
    let mut table = Table::new(&["TEMPLATE", "VERSION", "TIER", "DESCRIPTION"]);
    for template in catalogue.iter() {
        let name = template.name().to_string();
        let shown = paint::out().bold(&name);
        let cells =
            [template.version().to_owned(), template.tier().to_string(), template.description().to_owned()];
        table.row(std::iter::once((name, shown)).chain(cells.map(plain)));
    }
    table.print();
    Ok(exit::DONE)
}

/// `eparch pipeline spawn`: exactly what was planned, or nothing.
async fn spawn(context: &Context, plan: &eparch_domain::Digest, tier: Option<Tier>) -> Result<u8, Failure> {
    let home = match context.home() {
        Err(missing) if missing.code() == HomeError::Missing(context.home_root()).code() => {
            return Err(missing.hint("`eparch pipeline plan FILE --save` keeps a plan, and makes a home"));
        }
        home => home?,
    };
    let saved = SavedPlan::load(&home, plan)?;
    let checked =
        eparch_pipeline::check(&saved.file, &saved.pipeline, &Catalogue::built_in(), &known(context).await?);
    let pipeline = checked
        .pipeline
        .as_ref()
        .ok_or_else(|| plans::changed(plan, "its pipeline is not valid any more"))?;
    let inputs = bind(pipeline, &saved.inputs)?;
    // Another build may read the same file, or a template of it, otherwise.
    if plan_id(&pipeline.digest(), &inputs, &saved.env) != *plan {
        return Err(plans::changed(plan, "this build makes another plan of it"));
    }
    let request = StartRun {
        file: saved.file,
        env: saved.env,
        pipeline: saved.pipeline,
        inputs: saved.inputs,
        tier,
        timeout: None,
        root: saved.root,
        idempotency_key: Some(format!("{:032x}", random_bits())),
    };
    let desk = Desk::of(context, home)?;
    let started: Started = desk.post_again("/api/runs", &request).await?;
    run::tell_started(context, &started)?;
    Ok(exit::DONE)
}
