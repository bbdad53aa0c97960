//! Optimizers as a recipe writes them: `{ kind = "adamw", lr = 1e-3, weight_decay = 1e-4 }`.

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// Which optimizer, with its constants; the defaults are PyTorch's unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013).
    Sgd {
        /// Learning rate before the schedule; 0.05, as most distillation papers use.
        #[serde(default = "defaults::sgd_lr")]
        lr: f64,
        /// Share of the last step that is kept, in `[0, 1)`; 0.9, as most papers use.
        #[serde(default = "defaults::momentum")]
        momentum: f64,
        /// Look ahead along the momentum.
        #[serde(default)]
        nesterov: bool,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Whether biases and batch norm's parameters decay too.
        #[serde(default = "defaults::yes")]
        decay_all: bool,
    },
    /// Adam (Kingma & Ba 2015).
    Adam {
        /// Learning rate before the schedule.
        #[serde(default = "defaults::adam_lr")]
        lr: f64,
        /// Decay of the two moments, each in `[0, 1)`.
        #[serde(default = "defaults::betas")]
        betas: [f64; 2],
        /// Added to the root of the second moment.
        #[serde(default = "defaults::eps")]
        eps: f64,
        /// L2 penalty, added to the gradient.
        #[serde(default)]
        weight_decay: f64,
        /// Whether biases and batch norm's parameters decay too.
        #[serde(default = "defaults::yes")]
        decay_all: bool,
    },
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate before the schedule.
        #[serde(default = "defaults::adam_lr")]
        lr: f64,
        /// Decay of the two moments, each in `[0, 1)`.
        #[serde(default = "defaults::betas")]
        betas: [f64; 2],
        /// Added to the root of the second moment.
        #[serde(default = "defaults::eps")]
        eps: f64,
        /// Share of the weights taken off a step, times the learning rate.
        #[serde(default = "defaults::adamw_decay")]
        weight_decay: f64,
        /// Whether biases and batch norm's parameters decay too.
        #[serde(default = "defaults::yes")]
        decay_all: bool,
    },
}

mod defaults {
    pub(super) fn sgd_lr() -> f64 {
        0.05
    }
    pub(super) fn adam_lr() -> f64 {
        1e-3
    }
    pub(super) fn momentum() -> f64 {
        0.9
    }
    pub(super) fn betas() -> [f64; 2] {
        [0.9, 0.999]
    }
    pub(super) fn eps() -> f64 {
        1e-8
    }
    pub(super) fn adamw_decay() -> f64 {
        1e-2
    }
    pub(super) fn yes() -> bool {
        true
    }
}

impl Default for OptimizerSpec {
    /// AdamW with PyTorch's constants.
    fn default() -> Self {
        Self::AdamW {
            lr: defaults::adam_lr(),
            betas: defaults::betas(),
            eps: defaults::eps(),
            weight_decay: defaults::adamw_decay(),
            decay_all: true,
        }
    }
}

impl OptimizerSpec {
    /// Fails when a constant is out of its range.
    pub fn check(&self) -> Result<()> {
        let (lr, decay, shares, eps) = match *self {
            Self::Sgd { lr, momentum, weight_decay, nesterov, .. } => {
                if nesterov && momentum == 0.0 {
                    let message = "needs a momentum above 0";
                    return Err(Error::new(ErrorKind::Config, "nesterov", message));
                }
                (lr, weight_decay, [momentum; 2], 1.0)
            }
            Self::Adam { lr, betas, eps, weight_decay, .. }
            | Self::AdamW { lr, betas, eps, weight_decay, .. } => (lr, weight_decay, betas, eps),
        };
        for (name, value, fits) in [
            ("lr", lr, lr.is_finite() && lr > 0.0),
            ("weight_decay", decay, decay.is_finite() && decay >= 0.0),
            ("momentum or betas", shares[0], (0.0..1.0).contains(&shares[0])),
            ("momentum or betas", shares[1], (0.0..1.0).contains(&shares[1])),
            ("eps", eps, eps.is_finite() && eps > 0.0),
        ] {
            if !fits {
                let message = format!("{value} is out of range for an optimizer");
                return Err(Error::new(ErrorKind::Config, name, message));
            }
        }
        Ok(())
    }

    /// Learning rate before the schedule.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => lr,
        }
    }

    /// Whether biases and batch norm's parameters decay too.
    pub(super) fn decay_all(&self) -> bool {
        match *self {
            Self::Sgd { decay_all, .. }
            | Self::Adam { decay_all, .. }
            | Self::AdamW { decay_all, .. } => decay_all,
        }
    }
}
