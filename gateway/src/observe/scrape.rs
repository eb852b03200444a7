//! A scrape of a node, read back: what a node counts is looked at by another program of ours.
//!
//! Gets: the text of `/metrics`. Gives: sums of series.
//! Never: takes a number that is none for a number.

/// The text.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a>(pub &'a str);

impl<'a> Scrape<'a> {
    /// The sum of all series of a metric, named without its prefix, whose labels have `with` in them.
    pub fn sum(self, name: &str, with: &str) -> f64 {
        let fits = |labels: &str| (labels.is_empty() || labels.starts_with('{')) && labels.contains(with);
        self.series(name).filter(|(labels, _)| fits(labels)).filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// The functions whose configured store is away.
    pub fn stores_away(self) -> Vec<&'a str> {
        let function = |labels: &'a str| labels.strip_prefix("{function=\"")?.strip_suffix("\"}");
        self.series("shared_store_up").filter(|(_, value)| *value == "0").filter_map(|(labels, _)| function(labels)).collect()
    }

    /// Labels and values.
    fn series(self, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.lines().filter_map(move |line| line.strip_prefix("ftps_gateway_")?.strip_prefix(name)?.rsplit_once(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_name_are_summed_and_those_of_a_longer_name_are_not() {
        let text = "# HELP ftps_gateway_a Words.\nftps_gateway_a{x=\"1\"} 2\nftps_gateway_a{x=\"2\"} 0.5\nftps_gateway_a_count 9\nftps_gateway_shared_store_up{function=\"bans\"} 0\n\
            ftps_gateway_shared_store_up{function=\"digests\"} 1\n";
        let scrape = Scrape(text);
        assert!((scrape.sum("a", "") - 2.5).abs() < 1e-9 && (scrape.sum("a", "x=\"2\"") - 0.5).abs() < 1e-9 && scrape.sum("b", "") == 0.0);
        assert_eq!(scrape.stores_away(), ["bans"]);
    }
}
