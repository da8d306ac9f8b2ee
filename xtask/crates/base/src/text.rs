//! Text for terminals of 80 columns: tables and wrapped lines.

/// Maximum width of wrapped text, in columns.
const WIDTH: usize = 80;

/// Minimum width of the last column of a table that is wrapped.
const NARROWEST: usize = 20;

/// Maximum width of text between back quotes that is not wrapped, in columns.
const LONGEST_QUOTATION: usize = 50;

/// Formats rows as a table with aligned columns and `gap` between them; columns for which `right` holds are
/// right-aligned. The last column is wrapped at 80 columns unless it is right-aligned.
pub fn columns<const N: usize>(rows: &[[String; N]], gap: &str, right: impl Fn(usize) -> bool) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in rows {
        let cell = |column: usize| match right(column) {
            true => format!("{:>1$}", row[column], widths[column]),
            false => format!("{:<1$}", row[column], widths[column]),
        };
        let mut cells: Vec<String> = (0..N).map(cell).collect();
        let last = cells.pop().unwrap_or_default();
        let start: String = cells.iter().map(|cell| format!("{cell}{gap}")).collect();
        let wide = start.chars().count();
        match !right(N - 1) && wide + NARROWEST <= WIDTH {
            true => out.push_str(filled(&last, &start, &" ".repeat(wide)).trim_end()),
            false => out.push_str(format!("{start}{last}").trim_end()),
        }
        out.push('\n');
    }
    out
}

/// Appends text to `out`, wrapped at 80 columns; the first line is indented by `indent`, the others a little more.
pub fn wrap(out: &mut String, indent: &str, text: &str) {
    // Leading spaces align a number to the right and are not words.
    let lead = &text[..text.len() - text.trim_start().len()];
    out.push_str(&filled(text, &format!("{indent}{lead}"), &format!("{}  ", " ".repeat(indent.len()))));
    out.push('\n');
}

/// Wraps the long lines of a message at 80 columns. Lines that are indented by four spaces or more are the output of
/// programs, paths and commands, which stay as they are.
pub fn lines(text: &str) -> String {
    let wrapped = text.split('\n').map(|line| match line.chars().count() > WIDTH && !line.starts_with("    ") {
        true => {
            let indent = " ".repeat(line.len() - line.trim_start().len());
            filled(line, &indent, &format!("{indent}  "))
        }
        false => line.to_owned(),
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

/// Wraps the long lines of a list at 80 columns. Each line begins with a label, and the text after it with the column `text`,
/// where the lines that continue it begin, too.
pub fn labelled(list: &str, text: usize) -> String {
    let wrapped = list.split('\n').map(|line| match line.split_at_checked(text) {
        Some((label, rest)) if label.ends_with(' ') && line.chars().count() > WIDTH => {
            filled(rest, label, &" ".repeat(text))
        }
        _ => line.to_owned(),
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

/// Returns the words of a text in lines of at most 80 columns. The first line begins with `first`, the others with
/// `next`.
fn filled(text: &str, first: &str, next: &str) -> String {
    let (mut out, mut line, mut empty) = (String::new(), first.to_owned(), true);
    for word in words(text) {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = next.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&word);
        empty = false;
    }
    out + &line
}

/// Returns the words of a text. Text between back quotes, for instance a command, is one word unless it is long.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut open = false;
    for word in text.split_whitespace() {
        let joined = words.last().map(|last| format!("{last} {word}"));
        match (open, joined) {
            (true, Some(joined)) if joined.chars().count() <= LONGEST_QUOTATION => {
                words.pop();
                words.push(joined);
            }
            _ => words.push(word.to_owned()),
        }
        if word.matches('`').count() % 2 == 1 {
            open = !open;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_after_a_label_is_wrapped() {
        let long = "word ".repeat(20);
        let text = labelled(&format!("title\n  short  text\n  long   {long}\n  {long}"), 9);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["title", "  short  text"]);
        assert!(lines[2].starts_with("  long   word word") && lines[3].starts_with("         word"), "{text}");
        assert!(lines[2..4].iter().all(|line| line.len() <= 80), "{text}");
        assert_eq!(lines[4], format!("  {long}"), "a line without a label stays as it is");
    }

    #[test]
    fn the_last_column_of_a_table_is_wrapped() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let long = "word ".repeat(20);
        let text = columns(&[row(["a", "1", &long]), row(["bb", "22", "x"])], " ", |column| column == 1);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.starts_with("a   1 word word") && text.ends_with("\nbb 22 x\n"), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("      word"), "{text}");
        let unwrapped = columns(&[row(["a", "1", &long])], " ", |_| true);
        assert_eq!(unwrapped.lines().count(), 1);
        let wide = "w".repeat(70);
        assert_eq!(columns(&[row([&wide, "1", &long])], " ", |_| false).lines().count(), 1, "no room for a column");
    }

    #[test]
    fn long_lines_are_wrapped_and_the_output_of_programs_is_not() {
        let word = "word ".repeat(20);
        let log = format!("    | {word}");
        let text = lines(&format!("error: {word}\n{log}\nshort"));
        let wanted = format!("error: {}word\n  {}word\n{log}\nshort", "word ".repeat(13), "word ".repeat(5));
        assert_eq!(text, wanted);
        let command = format!("{} run `cargo xtask lock demo` again", "x".repeat(60));
        assert!(lines(&command).ends_with("\n  `cargo xtask lock demo` again"), "{}", lines(&command));
    }
}
