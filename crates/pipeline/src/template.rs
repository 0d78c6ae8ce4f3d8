//! Templates: what a kind of agent does and may do, unless a stage says otherwise.

use std::collections::BTreeMap;

use eparch_domain::{Digest, Name, Tier};

use crate::check::values;
use crate::diagnostic::{Diagnostic, Problems, codes};
use crate::language::TEMPLATE;
use crate::shape::{self, Shape};
use crate::source::Source;
use crate::syntax::{self, Node};
use crate::text::Text;

/// Every template file of the workspace: its name and its text.
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/templates.rs"));
/// Every file beside them: the folder, the file's name, its text.
const BUILT_IN_FILES: &[(&str, &str, &str)] = include!(concat!(env!("OUT_DIR"), "/template_files.rs"));

/// A template that was read and checked.
#[derive(Debug, Clone)]
pub struct Template {
    name: Name,
    version: String,
    description: String,
    tier: Tier,
    tools: Vec<String>,
    config: Option<Node>,
    files: BTreeMap<String, String>,
    digest: Digest,
}

impl Template {
    /// Reads a template file. `folder` yields the files of a folder beside it, for `files_from`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(
        text: &str,
        folder: impl Fn(&str) -> BTreeMap<String, String>,
    ) -> Result<Template, Vec<Diagnostic>> {
        let mut problems = Problems::default();
        let made = read(text, folder, &mut problems);
        match made.filter(|_| !problems.has_errors()) {
            Some(template) => Ok(template),
            None => Err(problems.finish(&Source::new(text))),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its name and version, as a run's definition has them.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// What it is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The lowest tier that a stage made from it works at (X21).
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Tools that a stage made from it may ask for, unless it lists its own.
    pub fn tools(&self) -> &[String] {
        &self.tools
    }

    /// Files put into the workspace: relative path to content.
    pub fn files(&self) -> &BTreeMap<String, String> {
        &self.files
    }

    /// The digest of its text and files.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn config(&self) -> Option<&Node> {
        self.config.as_ref()
    }
}

fn read(
    text: &str,
    folder: impl Fn(&str) -> BTreeMap<String, String>,
    problems: &mut Problems,
) -> Option<Template> {
    let root = syntax::read(text, problems)?;
    shape::check(&root, &Shape::Object(&TEMPLATE), "the file", problems);
    let config = root.get("config").cloned();
    if let Some(config) = &config {
        texts(config, text, problems);
    }
    let mut files = BTreeMap::new();
    if let Some(node) = root.get("files_from") {
        let name = node.text().unwrap_or_default();
        let found = folder(name);
        if found.is_empty() {
            problems.error(
                codes::BAD_TEMPLATE,
                node.range.clone(),
                format!("there are no files in `{name}`"),
            );
        }
        files.extend(found.into_iter().map(|(file, content)| (format!(".agent/{file}"), content)));
    }
    for entry in root.get("files").map_or(&[][..], Node::entries) {
        if entry.key.split('/').any(|part| matches!(part, "." | "..")) {
            problems.error(
                codes::BAD_PATH,
                entry.key_range.clone(),
                "a file's path stays inside the workspace",
            );
        }
        files.insert(entry.key.clone(), entry.value.text().unwrap_or_default().to_owned());
    }
    let parts = files.iter().flat_map(|(path, content)| [path.as_bytes(), content.as_bytes()]);
    let parts: Vec<&[u8]> = std::iter::once(text.as_bytes()).chain(parts).collect();
    let digest = Digest::of_parts(&parts);
    let tier = values::tier(root.get("tier")).unwrap_or_default();
    if let Some(node) = config.as_ref().and_then(|config| config.get("tier"))
        && values::tier(Some(node)).is_some_and(|asked| asked < tier)
    {
        problems.error(codes::BELOW_TEMPLATE, node.range.clone(), format!("the template itself is {tier}"));
    }
    Some(Template {
        name: root.get("name").and_then(|name| Name::new(name.text()?).ok())?,
        version: root.get("version").and_then(Node::text).unwrap_or("1.0").to_owned(),
        description: root.get("description").and_then(Node::text).unwrap_or("").trim().to_owned(),
        tier,
        tools: values::words(root.get("tools")),
        config,
        files,
        digest,
    })
}

/// Every text of a template's config must be readable; what it names is looked at where the template is used.
fn texts(node: &Node, source: &str, problems: &mut Problems) {
    if let Some(Err(error)) = node.text().map(Text::parse) {
        problems.error(codes::BAD_EXPRESSION, node.inside(source, error.offset), error.message);
    }
    node.items().iter().for_each(|item| texts(item, source, problems));
    node.entries().iter().for_each(|entry| texts(&entry.value, source, problems));
}

/// The templates there are.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// By name, then in the order they were added; the last one is meant when no version is named.
    templates: BTreeMap<String, Vec<Template>>,
}

impl Catalogue {
    /// The templates that come with Eparch.
    pub fn built_in() -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (file, text) in BUILT_IN {
            match Template::parse(text, built_in_folder) {
                Ok(template) => catalogue.add(template),
                Err(problems) => {
                    // A test reads every built-in template, so this is a template that was broken after that.
                    let first = problems.first().map(|problem| problem.message.as_str()).unwrap_or_default();
                    panic!("the built-in template {file} cannot be used: {first}");
                }
            }
        }
        catalogue
    }

    /// Adds a template; it takes the place of one with the same name and version.
    pub fn add(&mut self, template: Template) {
        let versions = self.templates.entry(template.name.to_string()).or_default();
        versions.retain(|known| known.version != template.version);
        versions.push(template);
    }

    /// The template called `name`, or `name@version`.
    pub fn find(&self, name: &str) -> Option<&Template> {
        let (name, version) =
            name.split_once('@').map_or((name, None), |(name, version)| (name, Some(version)));
        let versions = self.templates.get(name)?;
        match version {
            Some(version) => versions.iter().find(|template| template.version == version),
            None => versions.last(),
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.templates.values().flatten()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(String::as_str)
    }

    pub(crate) fn versions(&self, name: &str) -> Vec<&str> {
        self.templates.get(name).into_iter().flatten().map(Template::version).collect()
    }
}

fn built_in_folder(folder: &str) -> BTreeMap<String, String> {
    let files = BUILT_IN_FILES.iter().filter(|(known, _, _)| *known == folder);
    files.map(|(_, file, content)| ((*file).to_owned(), (*content).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r052_every_built_in_template_is_sound() {
        for (file, text) in BUILT_IN {
            if let Err(problems) = Template::parse(text, built_in_folder) {
                panic!("{file}: {problems:#?}");
            }
        }
    }
}
