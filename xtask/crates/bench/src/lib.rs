//! Measurements: `bench build` compares this tool with plain tools, `bench serve` measures services under load, and
//! `bench report` writes the report of one or several measurements.

mod build_command;
mod build_rows;
mod comparable;
mod figures;
#[cfg(test)]
mod fixture;
mod infer;
mod machine;
mod pairs;
mod profile;
mod prometheus;
mod random;
mod record;
pub mod report;
mod rows;
mod samples;
mod scaling;
pub mod serve;
mod stats;
mod table;
#[cfg(test)]
mod tests;
mod this_tool;
mod timings;
mod usual_tools;
mod verdict;
mod work;

pub use build_command::{Options, build};
