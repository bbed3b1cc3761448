//! The graph for people: as a tree, and in the DOT language.

use std::fmt::Write;

use super::graph::{Feed, Graph, Node};
use super::spec::Origin;

impl Graph {
    /// A tree: what reads what.
    pub fn text(&self, topic: &str) -> String {
        let mut out = format!("{topic}  topic\n");
        self.branch(Feed::Topic, "", &mut out);
        out
    }

    fn readers(&self, feed: Feed) -> Vec<(usize, &Node)> {
        self.nodes.iter().enumerate().filter(|(_, n)| n.feed == feed).collect()
    }

    fn branch(&self, feed: Feed, indent: &str, out: &mut String) {
        let readers = self.readers(feed);
        for (nth, (at, node)) in readers.iter().enumerate() {
            let last = nth + 1 == readers.len();
            let (twig, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let spec = &node.component.spec;
            let digest = node.component.identity.digest.get(..12).unwrap_or_default();
            let file = node.component.file();
            let _ = writeln!(out, "{indent}{twig}{} {}  {file} (sha256 {digest}…)", spec.name, spec.version);
            let indent = format!("{indent}{below}");
            let reads: Vec<String> = spec.reads.iter().map(|r| origin(&r.origin)).collect();
            let more = if spec.outputs.is_empty() { "   " } else { "│  " };
            let _ = writeln!(out, "{indent}{more}reads {}", reads.join(", "));
            for (index, output) in spec.outputs.iter().enumerate() {
                let last = index + 1 == spec.outputs.len();
                let (twig, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                let columns: Vec<&str> = output.columns.iter().map(|c| c.name.as_str()).collect();
                let kind = match output.event_time {
                    Some(by) if output.additive() => format!("additive table by {}", output.columns[by].name),
                    Some(by) => format!("table by {}", output.columns[by].name),
                    None => "no table".into(),
                };
                let _ = writeln!(out, "{indent}{twig}{}  {kind}: {}", output.name, columns.join(", "));
                self.branch(Feed::Output { node: *at, output: index }, &format!("{indent}{below}"), out);
            }
        }
    }

    /// For Graphviz.
    pub fn dot(&self, topic: &str) -> String {
        let mut out = String::from("digraph tidemill {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        let _ = writeln!(out, "  topic [label={topic:?}, shape=cds];");
        for (at, node) in self.nodes.iter().enumerate() {
            let spec = &node.component.spec;
            let _ = writeln!(
                out,
                "  t{at} [label=\"{}\\n{}\", shape=component];",
                spec.name,
                spec.version.escape_debug()
            );
            let from = match node.feed {
                Feed::Topic => "topic".into(),
                Feed::Output { node, output } => format!("o{node}_{output}"),
            };
            let _ = writeln!(out, "  {from} -> t{at};");
            for (index, output) in spec.outputs.iter().enumerate() {
                let shape = if output.event_time.is_some() { "cylinder" } else { "plain" };
                let _ = writeln!(
                    out,
                    "  o{at}_{index} [label={:?}, shape={shape}];\n  t{at} -> o{at}_{index};",
                    output.name
                );
            }
        }
        out.push_str("}\n");
        out
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Field(name) => name.clone(),
        Origin::Metadata(metadata) => format!("kafka {}", format!("{metadata:?}").to_lowercase()),
        Origin::Header(name) => format!("header {name}"),
        Origin::Watermark => "the watermark".into(),
    }
}
