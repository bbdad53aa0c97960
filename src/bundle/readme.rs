//! `README.txt` of a bundle: what it is, and what to type on the board.

use hipflask_runtime::Model;
use hipflask_runtime::input::Preprocess;

use super::{Device, GOLDEN, MODEL, SUMS};

/// The text for `model` on `device`.
pub(super) fn text(model: &Model, device: &Device) -> String {
    let graph = model.graph();
    let place = match device.board {
        Some(board) => format!("{} ({}), {}", board.title, board.cpu, device.triple()),
        None => device.triple().into(),
    };
    let about = format!(
        "{}: {} layers, {} bytes of weights\nFor {place}, by hipflask {}\n\n",
        graph.name,
        graph.nodes.len(),
        graph.weight_bytes(),
        env!("CARGO_PKG_VERSION")
    );
    let triple = device.triple();
    about
        + &if device.target.is_some_and(super::target::Target::is_browser) {
            page()
        } else if triple.ends_with("-android") {
            android(model, device)
        } else {
            board(model, device)
        }
}

fn board(model: &Model, device: &Device) -> String {
    let sums = (format!("sha256sum -c {SUMS}"), "is everything here?");
    "Copy this folder to the board. There:\n\n".to_string()
        + &lines([sums].into_iter().chain(commands(model, device)))
}

fn android(model: &Model, device: &Device) -> String {
    "In a shell beside this folder, with USB debugging on:\n\n".to_string()
        + "  adb push . /data/local/tmp/hipflask\n"
        + "  adb shell\n\nThere, after cd /data/local/tmp/hipflask && chmod +x hipflask-run:\n\n"
        + &lines(commands(model, device))
}

fn page() -> String {
    let text = format!(
        "Serve this folder, as by `python3 -m http.server`, and open index.html: the page verifies the\n\
         golden samples and times the model. Without a browser:\n\n  node verify.mjs {MODEL} {GOLDEN}\n\n\
         In a page of yours:\n\n"
    );
    text + "  import { Network } from \"./hipflask.js\";\n"
        + "  const fetched = async (name) => (await fetch(name)).arrayBuffer();\n"
        + &format!(
            "  const network = await Network.load(await fetched(\"hipflask.wasm\"), await fetched(\"{MODEL}\"));\n"
        )
        + "  const [scores] = network.run(pixels); // Float32Array, [h, w, c], preprocessed\n"
}

/// What can be done on a board, with what it is for.
fn commands(model: &Model, device: &Device) -> impl Iterator<Item = (String, &'static str)> {
    let run = format!("./{}", device.name());
    // None where the board lacks the preprocessing, or the tokenizer.
    let sample = match model.preprocess() {
        Some(Preprocess::Image(_)) => Some("IMAGE.pgm"),
        Some(Preprocess::Audio(_)) => Some("SOUND.wav"),
        Some(Preprocess::Table(_)) => Some("ROWS.csv"),
        Some(Preprocess::Values(_)) => Some("ARRAY.npy"),
        Some(Preprocess::Text(rule)) if rule.check_bytes().is_ok() => Some("LINES.txt"),
        Some(Preprocess::Text(_)) | None => None,
    };
    let predict =
        sample.map(|sample| (format!("{run} predict {MODEL} {sample}"), "the three best classes"));
    let proofs = [
        (format!("{run} verify {MODEL} {GOLDEN}"), "are the answers the recorded ones?"),
        (format!("{run} bench {MODEL}"), "how fast?"),
    ];
    proofs.into_iter().chain(predict)
}

fn lines(commands: impl Iterator<Item = (String, &'static str)>) -> String {
    commands
        .fold(String::new(), |text, (command, what)| text + &format!("  {command:<60} {what}\n"))
}
