//! Inner values of student and teacher, named by node, for the losses that compare them.

use candle_core::{Device, Tensor};

use super::LossInput;
use crate::interpreter::{Feature, Nodes};
use crate::{Error, ErrorKind, Result};

/// The values of one network that a run's losses want.
pub struct Wanted<'a> {
    nodes: &'a Nodes,
    names: Vec<String>,
}

impl<'a> Wanted<'a> {
    /// None so far.
    pub fn new(nodes: &'a Nodes) -> Self {
        Self { nodes, names: Vec::new() }
    }

    /// Names of the nodes, in the order in which losses find their values.
    pub fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Where the value will stand, and what it is.
    fn want(&mut self, name: Option<&str>) -> Result<(usize, Feature)> {
        let feature = self.nodes.find(name)?;
        let known = self.names.iter().position(|name| *name == feature.name);
        let index = known.unwrap_or(self.names.len());
        if known.is_none() {
            self.names.push(feature.name.clone());
        }
        Ok((index, feature.clone()))
    }
}

/// What the losses of a run may know of it before the first batch.
pub struct Surroundings<'a> {
    /// The student's inner values.
    pub student: Wanted<'a>,
    /// The teacher's inner values.
    pub teacher: Wanted<'a>,
    /// Number of training samples.
    pub samples: usize,
    /// Their classes, when known.
    pub labels: Option<&'a [u32]>,
    /// Seed of the run.
    pub seed: u64,
    /// Where the student is trained.
    pub device: &'a Device,
}

/// The two nodes that a term compares, as a recipe names them; `None`: what the last linear layer
/// reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePair {
    /// The student's.
    pub student: Option<String>,
    /// The teacher's.
    pub teacher: Option<String>,
}

/// Where a term finds its two values in the lists of a [`LossInput`], and what they are.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    at: [usize; 2],
    pub(super) student: Feature,
    pub(super) teacher: Feature,
}

impl NodePair {
    pub(super) fn bind(&self, around: &mut Surroundings<'_>) -> Result<Bound> {
        let (i, student) = around.student.want(self.student.as_deref())?;
        let (j, teacher) = around.teacher.want(self.teacher.as_deref())?;
        Ok(Bound { at: [i, j], student, teacher })
    }
}

impl Bound {
    /// The two shapes in words, for messages.
    pub(super) fn shapes(&self) -> String {
        let Self { student, teacher, .. } = self;
        format!(
            "the student's node {:?} gives {:?} a sample, the teacher's {:?} {:?}",
            student.name, student.shape, teacher.name, teacher.shape
        )
    }

    /// The student's value and the teacher's, the latter without gradient.
    pub(super) fn values(&self, input: &LossInput<'_>) -> Result<(Tensor, Tensor)> {
        let [i, j] = self.at;
        match (input.student_features.get(i), input.teacher_features.get(j)) {
            (Some(student), Some(teacher)) => Ok((student.clone(), teacher.detach())),
            _ => Err(Error::new(ErrorKind::Config, "features", "inner values are missing")),
        }
    }

    /// As [`values`](Self::values), images at the smaller height and width of the two.
    pub(super) fn same_size(&self, input: &LossInput<'_>) -> Result<(Tensor, Tensor)> {
        let (student, teacher) = self.values(input)?;
        let (&[_, _, sh, sw], &[_, _, th, tw]) = (student.dims(), teacher.dims()) else {
            return Ok((student, teacher));
        };
        let size = [sh.min(th), sw.min(tw)];
        let to = |x: Tensor, from| {
            if from == size { Ok(x) } else { super::adapter::pool_to(&x, size) }
        };
        Ok((to(student, [sh, sw])?, to(teacher, [th, tw])?))
    }
}

/// The parts of a term after [`bind`](super::DistillationLoss::bind); an error before.
pub(super) fn bound<'a, T>(parts: Option<&'a T>, loss: &str) -> Result<&'a T> {
    parts.ok_or_else(|| {
        let message = "compares inner values, but was not told where to find them";
        Error::new(ErrorKind::Config, loss, message)
    })
}
