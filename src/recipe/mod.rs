//! Recipes: one TOML file says a whole run.

pub mod budget;
mod check;
mod parse;
pub mod peers;
pub mod schema;
mod set;
mod suggest;
mod sweep;
pub mod teachers;
#[cfg(test)]
mod tests;
mod training;

use std::path::Path;

use anyhow::{Context, Result, bail};
use hipflask_distill::data::Places;
use hipflask_distill::loss::WeightedSum;
use hipflask_distill::network::SizeBudget;

use parse::Problem;
pub use schema::{Format, Recipe};
use set::Assignment;
pub use sweep::Cell;

/// The recipe that runs when none is given.
const DIGITS: &str = include_str!("digits.toml");

impl Recipe {
    /// Reads and checks the recipe at `path`, or [`Recipe::digits`] without one, after the
    /// assignments `sets`, each `key.key=value`.
    ///
    /// An error names file, line, key and the nearest valid one. A recipe may hold a `[data]` table
    /// only; commands that train ask for more with [`Recipe::require_student`] and
    /// [`Recipe::require_teacher`].
    pub fn load(path: Option<&Path>, sets: &[String]) -> Result<Self> {
        Self::load_with(path, &Assignment::parse_all(sets)?)
    }

    fn load_with(path: Option<&Path>, assignments: &[Assignment]) -> Result<Self> {
        let (file, text) = match path {
            None => ("the built-in digits recipe".to_string(), DIGITS.to_string()),
            Some(path) => {
                let file = path.display().to_string();
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("{file}: the recipe cannot be read"))?;
                (file, text)
            }
        };
        let in_file = |problem: Problem| anyhow::anyhow!(problem.in_file(&file, &text));
        let mut recipe = parse::parse(&text).map_err(in_file)?;
        if !assignments.is_empty() {
            recipe = set::apply(&recipe, assignments)?;
        }
        if let Err(problem) = check::check(&recipe) {
            match Assignment::to_blame(assignments, &problem) {
                Some(assignment) => bail!("{assignment}: {}", problem.message),
                None => return Err(in_file(problem)),
            }
        }
        if recipe.name.is_empty() {
            let stem = path.and_then(Path::file_stem).unwrap_or("recipe".as_ref());
            recipe.name = stem.to_string_lossy().into_owned();
        }
        Ok(recipe)
    }

    /// The built-in recipe: handwritten digits.
    pub fn digits() -> Result<Self> {
        Self::load(None, &[])
    }

    /// The whole recipe with every default as TOML, which loads back as the same recipe.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the recipe cannot be written as TOML")
    }

    /// Folders for the files that the recipe at `path` names: its own (the current one for the
    /// built-in recipe), then `$HIPFLASK_DATA`.
    pub fn places(path: Option<&Path>) -> Places {
        let folder = path.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
        let shared = std::env::var_os("HIPFLASK_DATA").filter(|folder| !folder.is_empty());
        Places {
            beside: Some(folder.unwrap_or(Path::new(".")).into()),
            shared: shared.map(Into::into),
        }
    }

    /// Lets a budget from the command line choose the student's width.
    pub fn set_size_budget(&mut self, budget: Option<SizeBudget>) {
        if budget.is_some() {
            self.student.width = None;
            self.student.size_budget = budget;
        }
    }

    /// Fails unless the recipe says which network learns.
    pub fn require_student(&self) -> Result<()> {
        if self.student.network.is_none() && self.student.layers.is_none() {
            bail!(
                "{}: the recipe has no student: add a table [student] with network = \"…\" or \
                 layers = […]",
                self.name
            );
        }
        Ok(())
    }

    /// Fails unless the recipe says who teaches.
    pub fn require_teacher(&self) -> Result<()> {
        let teacher = &self.teacher;
        if teacher.network.is_none() && teacher.layers.is_none() && teacher.is_trained() {
            bail!(
                "{}: the recipe has no teacher: add a table [teacher] with network = \"…\", layers = \
                 […], file = \"…\" or ensemble = [{{ file = \"…\" }}, …]",
                self.name
            );
        }
        Ok(())
    }

    /// Whether a term of `distill.loss` or `qat.loss` imitates the teacher.
    pub fn needs_teacher(&self) -> bool {
        let tuning = self.qat.as_ref().and_then(|qat| qat.loss.as_ref());
        let needs = |loss| WeightedSum::new(loss).is_ok_and(|loss| loss.needs_teacher());
        needs(&self.distill.loss) || tuning.is_some_and(|loss| needs(loss))
    }
}
