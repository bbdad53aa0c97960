//! "Did you mean …": the known word nearest to a mistyped one.

/// The word of `among` that takes the fewest edits to reach from `word`, the first of several;
/// `None` when that is more than a third of its letters (but one is always allowed).
pub fn nearest<'a>(word: &str, among: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = among.into_iter().map(|known| (edits(word, known), known));
    let (edits, known) = distances.min_by_key(|&(edits, _)| edits)?;
    (edits <= (known.chars().count() / 3).max(1)).then_some(known)
}

/// Levenshtein's distance, with a swap of neighbours as one edit (optimal string alignment);
/// case does not count, and `-` is `_`.
fn edits(a: &str, b: &str) -> usize {
    let letters = |s: &str| -> Vec<char> {
        s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
    };
    let (a, b) = (letters(a), letters(b));
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    least = least.min(rows[i - 2][j - 2] + 1);
                }
                least
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_count_replacements_insertions_and_swaps() {
        // kitten → sitting is the textbook's 3.
        for (a, b, expected) in [
            ("kitten", "sitting", 3),
            ("epoch", "epochs", 1),
            ("epcohs", "epochs", 1),
            ("Batch-Size", "batch_size", 0),
            ("", "abc", 3),
            ("abc", "", 3),
        ] {
            assert_eq!(edits(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_near_word_is_found_and_a_far_one_is_not() {
        let known = ["epochs", "batch_size", "optimizer", "lr"];
        assert_eq!(nearest("epoch", known), Some("epochs"));
        assert_eq!(nearest("batchsize", known), Some("batch_size"));
        assert_eq!(nearest("optimiser", known), Some("optimizer"));
        assert_eq!(nearest("l", known), Some("lr"));
        assert_eq!(nearest("momentum", known), None);
        assert_eq!(nearest("epoch", []), None);
    }
}
