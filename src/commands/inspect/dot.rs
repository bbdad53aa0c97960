//! The graph in Graphviz's language.

use std::fmt::Write as _;

use hipflask_runtime::Model;
use hipflask_runtime::graph::ValueId;

/// A digraph: a box a layer, an arrow a value.
pub(super) fn graph(model: &Model) -> String {
    let graph = model.graph();
    let mut text = format!("digraph {} {{\n  node [shape=box]\n", quoted(&graph.name));
    let shape = |id: ValueId| {
        let value = graph.value(id);
        format!("{} {}", value.dtype, value.shape)
    };
    for id in &graph.inputs {
        let label = format!("{}\n{}", graph.value(*id).name, shape(*id));
        let _ = writeln!(text, "  v{} [shape=ellipse, label={}]", id.0, quoted(&label));
    }
    for node in &graph.nodes {
        let activation = node.activation.map_or(String::new(), |a| format!(" + {}", a.name()));
        let label =
            format!("{}\n{}{activation}\n{}", node.name, node.op.name(), shape(node.output));
        let _ = writeln!(text, "  v{} [label={}]", node.output.0, quoted(&label));
        for input in &node.inputs {
            let _ = writeln!(text, "  v{} -> v{}", input.0, node.output.0);
        }
    }
    text + "}\n"
}

/// A string of that language: quotes and backslashes escaped, lines broken by `\n`.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quotes_and_line_breaks_are_escaped() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
