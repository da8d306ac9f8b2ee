//! What is compared with what: one variant for each row of the table.

use clap::ValueEnum;

use build::plan::Action;

/// What a row must not exceed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target {
    /// Ours by plain.
    pub ratio: Option<f64>,
    /// Ours alone, in seconds.
    pub seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Row {
    WheelsCold,
    WheelsUnchanged,
    WheelsOneLine,
    OfficialCold,
    OfficialUnchanged,
    ImageCold,
    ImageUnchanged,
    Everything,
    Plan,
    Xtask,
}

impl Row {
    /// In the order in which they run: the second and third begin where the one before has ended.
    pub const ALL: [Row; 10] = [
        Row::WheelsCold,
        Row::WheelsUnchanged,
        Row::WheelsOneLine,
        Row::OfficialCold,
        Row::OfficialUnchanged,
        Row::ImageCold,
        Row::ImageUnchanged,
        Row::Everything,
        Row::Plan,
        Row::Xtask,
    ];

    pub fn id(self) -> &'static str {
        match self {
            Row::WheelsCold => "wheels-cold",
            Row::WheelsUnchanged => "wheels-unchanged",
            Row::WheelsOneLine => "wheels-one-line",
            Row::OfficialCold => "official-cold",
            Row::OfficialUnchanged => "official-unchanged",
            Row::ImageCold => "image-cold",
            Row::ImageUnchanged => "image-unchanged",
            Row::Everything => "everything",
            Row::Plan => "plan",
            Row::Xtask => "xtask",
        }
    }

    pub fn work(self) -> &'static str {
        match self {
            Row::WheelsCold => "the maturin package for all its ABIs, cold",
            Row::WheelsUnchanged => "the same again, nothing changed",
            Row::WheelsOneLine => "the same, one line changed in the crate",
            Row::OfficialCold => "the package that is built in a container, cold",
            Row::OfficialUnchanged => "the same again, nothing changed",
            Row::ImageCold => "the image with all that belongs to it, wheels ready, cold; ours with its proof",
            Row::ImageUnchanged => "the image, nothing changed",
            Row::Everything => "all from an empty cache to the image, interpreter with `--quick`",
            Row::Plan => "`cargo xtask plan`, warm binary",
            Row::Xtask => "the tool itself, cold",
        }
    }

    pub fn tool(self) -> &'static str {
        match self {
            Row::WheelsCold | Row::WheelsUnchanged | Row::WheelsOneLine => {
                "`maturin build` for each ABI, one target directory"
            }
            Row::OfficialCold => "`pip wheel` in the same container",
            Row::OfficialUnchanged => "`pip wheel` with its cache of wheels",
            Row::ImageCold => "`docker build --no-cache`",
            Row::ImageUnchanged => "`docker build`, all layers cached",
            Row::Everything => "the same steps by hand, one after another",
            Row::Plan | Row::Xtask => "–",
        }
    }

    pub fn target(self) -> Target {
        let ratio = |ratio| Target { ratio: Some(ratio), seconds: None };
        let seconds = |seconds| Target { ratio: None, seconds: Some(seconds) };
        match self {
            Row::WheelsCold | Row::WheelsOneLine => ratio(0.6),
            Row::WheelsUnchanged => Target { ratio: Some(0.003), seconds: Some(0.5) },
            Row::OfficialCold => ratio(0.45),
            Row::OfficialUnchanged => ratio(0.1),
            Row::ImageCold => ratio(0.5),
            Row::ImageUnchanged => ratio(1.0),
            Row::Everything => ratio(0.65),
            Row::Plan => seconds(0.03),
            Row::Xtask => seconds(60.0),
        }
    }

    /// Whether a step is what this row measures; all others are done before the clock starts.
    pub fn measures(self, action: &Action) -> bool {
        match self {
            Row::WheelsCold | Row::WheelsUnchanged | Row::WheelsOneLine => matches!(action, Action::Maturin(_)),
            Row::OfficialCold | Row::OfficialUnchanged => matches!(action, Action::Container(_)),
            Row::ImageCold | Row::ImageUnchanged => matches!(action, Action::Image(_) | Action::Proof(_)),
            // No network is measured but Debian's.
            Row::Everything => !matches!(action, Action::Tools(_) | Action::Fetch(_)),
            Row::Plan | Row::Xtask => false,
        }
    }

    pub fn needs_docker(self) -> bool {
        match self {
            Row::WheelsCold | Row::WheelsUnchanged | Row::WheelsOneLine | Row::Plan | Row::Xtask => false,
            Row::OfficialCold | Row::OfficialUnchanged | Row::ImageCold | Row::ImageUnchanged | Row::Everything => true,
        }
    }

    /// Whether there is a plain tool to compare with.
    pub fn compares(self) -> bool {
        !matches!(self, Row::Plan | Row::Xtask)
    }

    /// How often it is run where `repeat` is asked for: what takes milliseconds is run often.
    pub fn repeat(self, repeat: usize) -> usize {
        if self == Row::Plan { repeat.max(30) } else { repeat }
    }

    /// About how many minutes one repeat of both sides takes on two cores: said beforehand, no more.
    pub fn minutes(self) -> usize {
        match self {
            Row::WheelsCold => 13,
            Row::WheelsUnchanged => 6,
            Row::WheelsOneLine => 9,
            Row::OfficialCold => 2,
            Row::Everything => 25,
            Row::Xtask => 2,
            Row::OfficialUnchanged | Row::ImageCold | Row::ImageUnchanged | Row::Plan => 0,
        }
    }
}
