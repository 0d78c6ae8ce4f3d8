//! What confined the agents of a run, for people.

use eparch_domain::StageStatus;
use eparch_governor::Measure;
use eparch_ledger::views::StageView;
use eparch_sandbox::MeasureName;

use crate::output::outln;
use crate::paint;

/// Measures that are had in several ways, or to a number: which way is worth a word.
const TOLD: [MeasureName; 3] = [MeasureName::DiskLimit, MeasureName::MemoryLimit, MeasureName::ProcessLimit];

/// Prints what confined each stage, and what did not.
pub(crate) fn print(stages: &[StageView]) {
    print_lines(stages, |stage| {
        let measures = &stage.confinement;
        [vec![in_force(measures)], without(measures), price(measures)].concat()
    });
}

/// Prints what did not confine stages that ran all the same, and what of it may have made one fail. Where all was in force
/// and all went well there is nothing to say.
pub(super) fn print_missing(stages: &[StageView]) {
    print_lines(stages, |stage| {
        let mut lines = without(&stage.confinement);
        if stage.status == StageStatus::Failed {
            lines.extend(price(&stage.confinement));
        }
        lines
    });
}

fn print_lines(stages: &[StageView], lines: impl Fn(&StageView) -> Vec<String>) {
    // Where nothing was in force no cage opened, and the stage's reason says why.
    let ran = stages.iter().filter(|stage| stage.confinement.iter().any(|measure| measure.in_force));
    let told: Vec<_> = ran.map(|stage| (stage, lines(stage))).collect();
    if told.iter().all(|(_, lines)| lines.is_empty()) {
        return;
    }
    outln!("\n{}", paint::out().faint("confinement"));
    for (stage, lines) in told {
        for line in lines {
            outln!("  {}  {}", stage.name, paint::harmless(&line));
        }
    }
}

fn in_force(measures: &[Measure]) -> String {
    let held: Vec<_> = measures.iter().filter(|measure| measure.in_force).collect();
    let told = held.iter().filter(|measure| {
        TOLD.iter().any(|told| told.as_str() == measure.name) && !measure.detail.is_empty()
    });
    let told: String = told.map(|measure| format!("; {}: {}", measure.name, measure.detail)).collect();
    format!("{} measures in force{told}", held.len())
}

fn without(measures: &[Measure]) -> Vec<String> {
    let missing = measures.iter().filter(|measure| !measure.in_force);
    missing.map(|measure| format!("without {}: {}", measure.name, measure.detail)).collect()
}

/// What common programs cannot do under these measures, which look like faults of their own.
fn price(measures: &[Measure]) -> Vec<String> {
    // By which part of the kernel comes first, whatever else the record says: there is one way for each.
    let pays = |measure: &&Measure| {
        measure.in_force
            && measure.name == MeasureName::UnixSockets.as_str()
            && measure.detail.starts_with(MeasureName::Seccomp.as_str())
    };
    let line = |_| {
        "it could make no Unix sockets, since it writes the host's folders; programs that need them fail \
         (EP0232)"
            .to_owned()
    };
    measures.iter().find(pays).map(line).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missing_is_named_with_its_reason_and_how_memory_was_bounded() {
        let measure = |name: &str, in_force, detail: &str| Measure {
            name: name.to_owned(),
            in_force,
            detail: detail.to_owned(),
        };
        let measures = [
            measure("landlock", false, "it is disabled at boot"),
            measure("memory-limit", true, "rlimit-data"),
            measure("seccomp", true, ""),
        ];
        assert_eq!(in_force(&measures), "2 measures in force; memory-limit: rlimit-data");
        assert_eq!(without(&measures), ["without landlock: it is disabled at boot"]);
        assert!(price(&measures).is_empty());
    }

    #[test]
    fn who_could_make_no_unix_sockets_is_told_whatever_words_the_record_has_for_it() {
        let sockets = |in_force, detail: &str| Measure {
            name: "unix-sockets".to_owned(),
            in_force,
            detail: detail.to_owned(),
        };
        for words in [
            "seccomp: no Unix sockets of its own, since it writes the host's folders",
            "seccomp: no sockets of its own",
        ] {
            assert!(price(&[sockets(true, words)])[0].ends_with("(EP0232)"), "{words}");
            assert!(price(&[sockets(false, words)]).is_empty());
        }
        assert!(price(&[sockets(true, "overlay"), sockets(true, "landlock abi 9")]).is_empty());
    }
}
