//! Known values, and what the methods promise of themselves.

use super::*;

fn near(found: f64, known: f64, by: f64) {
    assert!((found - known).abs() <= by, "{found}, not {known}");
}

/// Values that scatter like those of a normal distribution, the same each time.
fn scattered(random: &mut Random, runs: usize, middle: f64, spread: f64) -> Vec<f64> {
    let mut one = || (0..12).map(|_| random.below(1_000_000) as f64 / 1e6).sum::<f64>() - 6.0;
    (0..runs).map(|_| middle + spread * one()).collect()
}

#[test]
fn the_normal_distribution() {
    for (z, known) in [(0.0, 0.5), (-1.959_964, 0.025), (1.644_854, 0.95), (-3.090_232, 0.001)] {
        near(below_normal(z), known, 1e-6);
    }
}

#[test]
fn exact_chances() {
    // Fisher's: of 252 arrangements of five and five, only these two are as far apart.
    near(permutation(&[1.0, 2.0, 3.0, 4.0, 5.0], &[6.0, 7.0, 8.0, 9.0, 10.0]), 2.0 / 252.0, 1e-12);
    near(permutation(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1, 1e-12);
    // {1,2,4} sums to 7: as far are 6, 7, 14 and 15, one arrangement each.
    near(permutation(&[1.0, 2.0, 4.0], &[3.0, 5.0, 6.0]), 4.0 / 20.0, 1e-12);
    assert_eq!(permutation(&[1.0, 2.0], &[1.0, 2.0]), 1.0);
    assert_eq!(permutation(&[3.0; 4], &[3.0; 4]), 1.0);
    assert_eq!(permutation(&[], &[1.0]), 1.0);
    // Another unit, another zero: the same.
    let (a, b) = ([0.101, 0.102, 0.104, 0.108], [0.103, 0.105, 0.109, 0.111]);
    let scaled = |values: &[f64]| values.iter().map(|value| value * 1e3 + 1e6).collect::<Vec<_>>();
    near(permutation(&a, &b), permutation(&scaled(&a), &scaled(&b)), 1e-12);
}

#[test]
fn many_runs_are_drawn_not_counted() {
    let mut random = Random::new(5);
    let a = scattered(&mut random, 30, 100.0, 1.0);
    let same = scattered(&mut random, 30, 100.0, 1.0);
    let other = scattered(&mut random, 30, 103.0, 1.0);
    assert!(permutation(&a, &same) > ALPHA);
    near(permutation(&a, &other), 1.0 / (DRAWS + 1) as f64, 1e-12);
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    assert_eq!(estimate(&[]), None);
    assert_eq!(estimate(&[3.0]), Some(Estimate { mean: 3.0, ends: None, runs: 1 }));
    assert_eq!(estimate(&[3.0; 5]), Some(Estimate { mean: 3.0, ends: Some((3.0, 3.0)), runs: 5 }));
    // Of two runs the interval cannot be wider than they are.
    assert_eq!(estimate(&[1.0, 3.0]).and_then(|found| found.ends), Some((1.0, 3.0)));
    let mut random = Random::new(11);
    for (runs, times) in [(5, 400), (10, 100)] {
        let held = (0..times).filter(|_| {
            let found = estimate(&scattered(&mut random, runs, 50.0, 4.0)).and_then(|found| found.ends);
            found.is_some_and(|(low, high)| low <= 50.0 && 50.0 <= high)
        });
        let share = held.count() as f64 / f64::from(times);
        // Without the widening it is 0.82 of five runs.
        assert!((0.88..=0.99).contains(&share), "{runs} runs: {share}");
    }
}

#[test]
fn changes_are_shares() {
    let found = change(&[10.0, 10.0, 10.0], &[15.0, 15.0, 15.0]).unwrap();
    assert_eq!((found.mean, found.ends), (0.5, Some((0.5, 0.5))));
    assert_eq!(change(&[0.0], &[1.0]), None);
    assert_eq!(change(&[2.0], &[1.0]), Some(Estimate { mean: -0.5, ends: None, runs: 1 }));
    assert_eq!(change(&[2.0, 3.0], &[4.0, 5.0]), change(&[2.0, 3.0], &[4.0, 5.0]), "drawn from a fixed seed");
}

#[test]
fn what_so_many_runs_could_have_shown() {
    // Three and three: 2 of 20 is the least chance that there is.
    assert_eq!(smallest(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), None);
    let (a, b) = ([100.0, 101.0, 102.0, 103.0, 104.0], [99.0, 101.0, 102.0, 103.0, 105.0]);
    let least = smallest(&a, &b).unwrap();
    let moved = |by: f64| b.iter().map(|value| value + by).collect::<Vec<_>>();
    assert!(permutation(&a, &moved(least * 1.01)) <= ALPHA, "{least}");
    assert!(permutation(&a, &moved(least * 0.9)) > ALPHA, "{least}");
    // Ten times the spread, ten times the difference.
    let wide = |values: &[f64]| values.iter().map(|value| value * 10.0).collect::<Vec<_>>();
    near(smallest(&wide(&a), &wide(&b)).unwrap(), 10.0 * least, 0.01 * least);
}

#[test]
fn many_tests_are_adjusted() {
    // 0.005 · 4/1 is as much as 0.01 · 4/2, and 0.03 · 4/3 is as much as 0.04 · 4/4.
    let found = adjusted(&[0.01, 0.04, 0.03, 0.005]);
    for (found, known) in found.iter().zip([0.02, 0.04, 0.04, 0.02]) {
        near(*found, known, 1e-12);
    }
    assert_eq!(adjusted(&[]), Vec::<f64>::new());
    assert_eq!(adjusted(&[0.9, 0.9]), [0.9, 0.9]);
}

#[test]
fn the_same_twice_is_seldom_a_difference_and_a_slow_one_always() {
    let mut random = Random::new(2);
    let (mut alarms, mut found) = (0, 0);
    for _ in 0..200 {
        let family: Vec<(Vec<f64>, Vec<f64>)> =
            (0..6).map(|_| (scattered(&mut random, 5, 100.0, 3.0), scattered(&mut random, 5, 100.0, 3.0))).collect();
        let chances = |slower: f64| -> Vec<f64> {
            let one = |(a, b): &(Vec<f64>, Vec<f64>)| {
                permutation(a, &b.iter().map(|value| value * slower).collect::<Vec<_>>())
            };
            adjusted(&family.iter().map(one).collect::<Vec<_>>())
        };
        alarms += usize::from(chances(1.0).iter().any(|chance| *chance <= ALPHA));
        found += usize::from(chances(1.3).iter().any(|chance| *chance <= ALPHA));
    }
    assert!(alarms <= 20, "{alarms} of 200 families of the same");
    assert!(found == 200, "{found} of 200 slowed ones");
}
