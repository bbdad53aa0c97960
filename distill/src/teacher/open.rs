//! A teacher from a file, whatever kind of file it is.

use std::path::Path;

use candle_core::Device;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::{Graph, Layout, LoadLimits};

use super::arranged::{Arranged, Order};
use super::checkpoint::{has_graph, load_weights};
use super::network::ports;
use super::reordered::Reordered;
use super::{Channels, NetworkTeacher, OnnxTeacher, Placement, SessionTeacher, Teacher, Wishes};
use crate::{Error, ErrorKind, Result};

/// What the teacher is for, and what the file does not say.
pub struct Wanted<'a> {
    /// Shape of the samples it will see: `[c, h, w]` for images.
    pub shape: &'a [usize],
    /// Classes of the task.
    pub classes: usize,
    /// The network that bare weights belong to.
    pub declared: Option<&'a Graph>,
    /// How it wants its samples, instead of what its file says.
    pub wishes: Wishes,
    /// Where networks in f32 run.
    pub device: &'a Device,
}

/// Loads the teacher at `path`: `.onnx`, a hipflask model, or bare weights (`.safetensors`, `.pth`,
/// `.pt`, `.th`) of the declared network.
///
/// Fails with [`ErrorKind::Teacher`] when it classifies other samples or other classes than wanted.
pub fn open(path: &Path, wanted: &Wanted<'_>) -> Result<Box<dyn Teacher>> {
    let at = path.display().to_string();
    let refuse = |message: String| Error::new(ErrorKind::Teacher, &at, message);
    if let Some(preprocess) = &wanted.wishes.preprocess {
        let sample = [&[1], wanted.shape].concat();
        preprocess.check(Layout::Nchw, &sample)?;
    }
    let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    let Wishes { channels, layout, output, .. } = &wanted.wishes;
    if *channels == Channels::Bgr && !matches!(wanted.shape, [3, _, _]) {
        let given = wanted.shape;
        return Err(refuse(format!(
            "channels = \"bgr\" is for images of 3 channels, the data set gives samples {given:?}"
        )));
    }
    if output.is_some() && !is_onnx {
        return Err(refuse("output is for teachers in .onnx: leave it out".into()));
    }
    let order = Order {
        reversed: *channels == Channels::Bgr,
        // An ONNX teacher sees to it itself: its input may have another shape then.
        channels_last: *layout == Some(Placement::Nhwc) && !is_onnx,
    };
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let teacher: Box<dyn Teacher> = match extension.to_str() {
        Some("onnx") => Box::new(OnnxTeacher::open(path, wanted.shape, &wanted.wishes)?),
        Some("safetensors") => {
            let bytes = hipflask_runtime::file::open(path)?;
            if has_graph((*bytes).as_ref()) {
                let file = ModelFile::from_shared(bytes, &LoadLimits::default())
                    .map_err(|e| e.in_file(&at))?;
                of_model(path, file, wanted)?
            } else {
                of_weights(path, wanted)?
            }
        }
        Some("pth" | "pt" | "th") => of_weights(path, wanted)?,
        _ => {
            let message =
                "is no kind of file that teachers come in: .onnx, .safetensors, .pth, .pt or .th";
            return Err(refuse(message.into()));
        }
    };
    if teacher.classes() != wanted.classes {
        let (its, wanted) = (teacher.classes(), wanted.classes);
        return Err(refuse(format!("tells {its} classes apart, the data set has {wanted}")));
    }
    let teacher = Arranged::wrap(teacher, order);
    match &wanted.wishes.class_order {
        Some(order) => Reordered::wrap(teacher, order),
        None => Ok(teacher),
    }
}

/// The last part of a path, as a teacher's name.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn of_model(path: &Path, mut file: ModelFile, wanted: &Wanted<'_>) -> Result<Box<dyn Teacher>> {
    check_shape(path, &file.graph, wanted)?;
    if let Some(preprocess) = &wanted.wishes.preprocess {
        file.preprocess = Some(preprocess.clone());
    }
    let quantized = file.graph.values.iter().any(|value| value.quant.is_some());
    let name = file_name(path);
    Ok(if file.graph.layout == Layout::Nchw && !quantized {
        Box::new(NetworkTeacher::new(name, &file.graph, file.preprocess, wanted.device)?)
    } else {
        Box::new(SessionTeacher::new(name, file)?)
    })
}

fn of_weights(path: &Path, wanted: &Wanted<'_>) -> Result<Box<dyn Teacher>> {
    let Some(declared) = wanted.declared else {
        let message = "holds bare weights: name the network that they belong to, as `network = \
                       \"resnet20\"`, in the recipe's [teacher]";
        return Err(Error::new(ErrorKind::Teacher, path.display().to_string(), message));
    };
    check_shape(path, declared, wanted)?;
    let graph = load_weights(path, declared)?;
    let (name, preprocess) = (file_name(path), wanted.wishes.preprocess.clone());
    Ok(Box::new(NetworkTeacher::new(name, &graph, preprocess, wanted.device)?))
}

fn check_shape(path: &Path, graph: &Graph, wanted: &Wanted<'_>) -> Result<()> {
    let refuse = |message| Error::new(ErrorKind::Teacher, path.display().to_string(), message);
    let (shape, _) = ports(graph).map_err(|e| refuse(e.to_string()))?;
    if shape != wanted.shape {
        let given = wanted.shape;
        return Err(refuse(format!(
            "takes samples {shape:?}, the data set gives {given:?} (an image is [c, h, w])"
        )));
    }
    Ok(())
}
