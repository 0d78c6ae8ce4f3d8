//! "Did you mean": the known word closest to one that is not known.

/// Neither word is longer than this; whoever slips in a longer one sees it without help.
const LONGEST: usize = 64;
/// The most changes that still are a slip.
const MOST_CHANGES: usize = 3;

/// The word nearest to `word`, when it is near enough to be a slip: one edit for short words, a third of the letters for
/// longer ones.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (word.chars().count().min(LONGEST) / 3).clamp(1, MOST_CHANGES);
    let near = known.into_iter().filter(|candidate| is_comparable(word, candidate));
    let found = near.map(|candidate| (distance(word, candidate), candidate));
    found.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// A comparison takes the product of both lengths, and a file chooses both: those that cannot be near, or are longer than
/// anybody's word, are told apart by their lengths alone.
fn is_comparable(word: &str, candidate: &str) -> bool {
    word.len() <= LONGEST && candidate.len() <= LONGEST && {
        let (letters, others) = (word.chars().count(), candidate.chars().count());
        letters.abs_diff(others) <= MOST_CHANGES
    }
}

/// How many single-letter changes lead from one word to the other; swapping two neighbours counts as one, upper and lower
/// case are the same letter.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["timeout", "requires", "name", "stages"];
        assert_eq!(nearest("timout", known), Some("timeout"));
        assert_eq!(nearest("reqiures", known), Some("requires"));
        assert_eq!(nearest("Name", known), Some("name"));
        assert_eq!(nearest("nmae", known), Some("name"));
        assert_eq!(nearest("banana", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn a_comparison_is_never_larger_than_two_words() {
        assert!(is_comparable("timout", "timeout"));
        // Whichever of the two a file makes long, nothing is compared.
        let long = "timeout".repeat(100_000);
        assert!(!is_comparable("timeout", &long) && !is_comparable(&long, "timeout"));
        assert!(!is_comparable(&long, &long));
        assert!(!is_comparable("ten", "tenletters"));
        assert_eq!(nearest(&"a".repeat(64), [&*"a".repeat(63), &*long]), Some(&*"a".repeat(63)));
    }
}
