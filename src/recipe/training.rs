//! The keys that several tables have in common, in one place.

/// Declares a table of its own fields, each with its default, and the keys of a training after them, with
/// those of `defaults`.
///
/// serde cannot flatten one struct into another and still refuse unknown keys with their line.
macro_rules! training_table {
    (
        defaults = $training:expr;
        $(#[$table_attribute:meta])*
        pub struct $table:ident {
            $($(#[$attribute:meta])* pub $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        $(#[$table_attribute])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $table {
            $($(#[$attribute])* pub $field: $type,)*
            /// Most passes over the training samples.
            pub epochs: usize,
            /// Most minutes of training; no limit without it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub minutes: Option<f64>,
            /// Samples of a batch.
            pub batch_size: usize,
            /// Batches whose gradients make one step.
            pub accumulate: usize,
            /// Optimizer and its learning rate.
            pub optimizer: OptimizerSpec,
            /// How the learning rate changes.
            pub schedule: ScheduleSpec,
            /// Largest norm of the gradient; no limit without it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub clip_norm: Option<f64>,
            /// Decay of the moving average of the weights, which is then kept; none without it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub ema: Option<f64>,
            /// When to stop before the last epoch; never without it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub early_stopping: Option<EarlyStopping>,
            /// Which epoch's network is kept.
            pub keep: Keep,
            /// Of products on a GPU.
            pub precision: Precision,
            /// How samples are mixed with one another; not at all without it.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub mix: Option<Mix>,
        }

        impl Default for $table {
            fn default() -> Self {
                let training = $training;
                Self {
                    $($field: $default,)*
                    epochs: training.epochs,
                    minutes: training.minutes,
                    batch_size: training.batch_size,
                    accumulate: training.accumulate,
                    optimizer: training.optimizer,
                    schedule: training.schedule,
                    clip_norm: training.clip_norm,
                    ema: training.ema,
                    early_stopping: training.early_stopping,
                    keep: training.keep,
                    precision: training.precision,
                    mix: training.mix,
                }
            }
        }

        impl $table {
            /// The training that the table declares, with the objective `loss`.
            pub fn training(&self, loss: Vec<LossSpec>) -> TrainSpec {
                TrainSpec {
                    epochs: self.epochs,
                    minutes: self.minutes,
                    batch_size: self.batch_size,
                    accumulate: self.accumulate,
                    optimizer: self.optimizer,
                    schedule: self.schedule.clone(),
                    clip_norm: self.clip_norm,
                    ema: self.ema,
                    early_stopping: self.early_stopping,
                    keep: self.keep,
                    precision: self.precision,
                    mix: self.mix,
                    loss,
                    views: None,
                }
            }
        }
    };
}

/// Gives tables with the keys of a network the network that they declare.
macro_rules! declares_network {
    ($($table:ident),+) => {$(
        impl $table {
            /// The network that the table declares.
            pub fn network_spec(&self) -> NetworkSpec {
                NetworkSpec {
                    network: self.network.clone(),
                    width: self.width,
                    depth: self.depth,
                    hidden: self.hidden.clone(),
                    layers: self.layers.clone(),
                    vocabulary: None,
                }
            }
        }
    )+};
}

pub(super) use {declares_network, training_table};
