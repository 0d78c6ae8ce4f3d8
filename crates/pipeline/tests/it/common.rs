//! What the tests share: a small catalogue and a way to check a text.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use eparch_pipeline::{Catalogue, Checked, Known, Template, check};

/// A catalogue that does not change when the real templates do.
pub(crate) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    for text in [
        "name: default\nversion: \"1.0\"\ndescription: Looks around.\nconfig:\n  command: [look, \"${{ run.id }}\"]\n",
        "name: terraform\ntier: 1\ntools: [\"terraform_*\"]\nconfig:\n  command: [terraform, plan]\n  env: {TF_IN_AUTOMATION: 1}\n  retries: {max: 3}\nfiles: {main.tf: \"# empty\"}\n",
        "name: asks\ntier: 2\nconfig:\n  command: [ask, \"${{ inputs.question }}\"]\n",
    ] {
        catalogue.add(Template::parse(text, |_| BTreeMap::new()).unwrap());
    }
    catalogue
}

/// Checks a text with the small catalogue.
pub(crate) fn checked(text: &str) -> Checked {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(catalogue);
    check("pipeline.yaml", text, &CATALOGUE, &Known::default())
}

/// The codes of a text's diagnostics with their lines and columns.
pub(crate) fn found(text: &str) -> Vec<(&'static str, usize, usize)> {
    checked(text).diagnostics.iter().map(|one| (one.code, one.span.line, one.span.column)).collect()
}
