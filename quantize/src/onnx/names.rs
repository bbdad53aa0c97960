//! Names of nodes: ONNX's own where they are safe and unique.

use std::collections::{BTreeMap, BTreeSet};

/// Longest name kept, in characters.
const LONGEST: usize = 200;

/// Hands out each name once.
#[derive(Default)]
pub(super) struct Names {
    used: BTreeSet<String>,
    /// For each name asked for: the number that its next namesake gets.
    next: BTreeMap<String, usize>,
}

impl Names {
    /// `wanted`, without what files and terminals might misread, and with a number where it is
    /// taken. What the conversion to int8 calls its own nodes is left to `conversion`s.
    pub(super) fn unique(&mut self, wanted: &str, conversion: bool) -> String {
        let mut base = safe(wanted);
        if !conversion && (base.ends_with(".quantize") || base.ends_with(".dequantize")) {
            base.push('_');
        }
        let mut name = base.clone();
        while !self.used.insert(name.clone()) {
            let number = self.next.entry(base.clone()).or_insert(2);
            name = format!("{base}_{number}");
            *number = number.saturating_add(1);
        }
        name
    }
}

/// Letters, digits and `. _ - / :`, never empty; a leading slash, which PyTorch writes, is dropped.
fn safe(wanted: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || "._-/:".contains(c) { c } else { '_' };
    let name: String = wanted.trim_start_matches('/').chars().take(LONGEST).map(kept).collect();
    match name.as_str() {
        "" => "node".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_made_safe_and_numbered() {
        let mut names = Names::default();
        let found: Vec<String> =
            ["/layer1/conv1/Conv", "a\n\"b\"", "", "x.quantize", "a_2", "a", "a", "a"]
                .iter()
                .map(|name| names.unique(name, false))
                .collect();
        assert_eq!(
            found,
            ["layer1/conv1/Conv", "a__b_", "node", "x.quantize_", "a_2", "a", "a_3", "a_4"]
        );
        assert_eq!(names.unique("x.quantize", true), "x.quantize");
    }
}
