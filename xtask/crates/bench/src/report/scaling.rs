//! Report section about scaling curves.

use super::page::{Block, Chart, Section};
use super::svg::{self, Line};
use super::view::{section, table, text};
use super::words::{estimate, mean, number};
use crate::infer;
use crate::record::Record;
use crate::scaling::{Curve, Fit, Point};

/// Number of points of a fitted line.
const STEPS: u16 = 40;

/// Returns the measured points of a curve as a line, and the fitted law as another one.
fn lines(curve: &Curve) -> Vec<Line> {
    let name = format!("{}, {}", curve.config, processors(curve.cpus));
    let points = curve.points.iter().map(|point| (f64::from(point.users), infer::mean(&point.throughput)));
    let fitted = curve.fit().zip(curve.points.last()).map(|(fit, last)| {
        let users = (0..=STEPS).map(|step| 1.0 + (f64::from(last.users) - 1.0) * f64::from(step) / f64::from(STEPS));
        let points = users.map(|users| (users, fit.law.throughput(users)));
        Line { name: format!("{name}, fitted"), points: points.collect() }
    });
    [Line { name, points: points.collect() }].into_iter().chain(fitted).collect()
}

fn processors(number: u16) -> String {
    if number == 1 { "1 processor".to_owned() } else { format!("{number} processors") }
}

/// Returns the section; `None` without curves.
pub fn scaling(record: &Record, curves: &[Curve]) -> Option<Section> {
    let title = |curve: &Curve| {
        let config = record.configs.iter().find(|config| *config.asked.id == *curve.config);
        config.map_or_else(|| curve.config.clone(), |config| config.asked.title.clone())
    };
    let measured = curves.iter().flat_map(|curve| {
        curve.points.iter().map(move |point| {
            let show = |values: &[f64]| estimate(infer::estimate(values));
            let mut row = vec![title(curve), curve.cpus.to_string(), point.users.to_string()];
            row.extend([&point.throughput, &point.p95, &point.cpu, &point.used].map(|values| show(values)));
            row
        })
    });
    let fitted = curves.iter().map(|curve| {
        let mut row = vec![title(curve), curve.cpus.to_string()];
        match curve.fit() {
            Some(Fit { law, lambda, sigma, kappa }) => {
                row.extend([lambda, sigma, kappa].map(|found| estimate(Some(found))));
                row.push(law.peak().map_or("none".to_owned(), number));
            }
            None => row.extend(["–".to_owned(), "too few points".to_owned(), "–".to_owned(), "–".to_owned()]),
        }
        row
    });
    let lines: Vec<Line> = curves.iter().flat_map(lines).collect();
    let measured: Vec<Vec<String>> = measured.collect();
    if measured.is_empty() {
        return None;
    }
    let standin = if record.server.standin { " (STAND-IN server)" } else { "" };
    let blocks = vec![
        Block::List(curves.iter().filter_map(|curve| sentence(&title(curve), curve)).collect()),
        Block::Chart(Chart {
            name: "scaling".to_owned(),
            caption: "Answers per second by number of users, mean over runs.".to_owned(),
            svg: svg::lines(&format!("Scaling{standin}"), ("users", "per s"), false, &lines),
        }),
        Block::Heading("Contention and coherency".to_owned()),
        text(
            "The universal scalability law (Gunther 2007) fitted to the means: λN / (1 + σ(N − 1) + κN(N − 1)). λ: requests/s \
             of one user; σ, contention: the share of the work that only one can do at a time, 1 if all of it; κ, coherency: \
             what every user adds to the work of every other one. Intervals: 95 %, bootstrap over runs. Behind the peak, \
             more users get fewer answers.",
        ),
        table(&["Configuration", "Processors", "λ", "σ", "κ", "Peak at users"], fitted.collect()),
        Block::Heading("All points".to_owned()),
        table(
            &[
                "Configuration",
                "Processors",
                "Users",
                "Requests/s",
                "p95, ms",
                "Processor time per request, ms",
                "Processors used",
            ],
            measured,
        ),
    ];
    section("Scaling", blocks)
}

/// Says how the throughput of a curve changes with the number of users; `None` if there is only one point.
fn sentence(title: &str, curve: &Curve) -> Option<String> {
    let (first, rest) = curve.points.split_first()?;
    let last = rest.last()?;
    let rate = |point: &Point| infer::estimate(&point.throughput).map(|found| mean(&found));
    let users = |number: u16| if number == 1 { "one user".to_owned() } else { format!("{number} users") };
    let fitted = curve.fit().map_or_else(String::new, |fit| format!(" Contention: σ = {}.", estimate(Some(fit.sigma))));
    Some(format!(
        "**{title}** on {} answers **{} requests per second** with {} and **{}** with {}.{fitted}",
        processors(curve.cpus),
        rate(first)?,
        users(first.users),
        rate(last)?,
        users(last.users)
    ))
}
