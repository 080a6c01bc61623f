//! Cost against length, as a picture.

use std::io;
use std::path::Path;

use plotters::prelude::*;

use super::measure::Measured;

const SIZE: (u32, u32) = (900, 560);

/// What a history of some length cost.
pub(super) struct Point {
    pub(super) operations: u64,
    pub(super) measured: Measured,
    /// Whether it was judged while it was read.
    pub(super) streamed: bool,
}

/// A measure of a run, in seconds, if it was taken.
type Cost = fn(&Point) -> Option<f64>;

/// Draws loading and checking, both axes logarithmic: a cost that grows linearly is a straight line parallel to the
/// dashed one.
pub(super) fn draw(into: &Path, points: &[Point]) -> io::Result<()> {
    let area = SVGBackend::new(into, SIZE).into_drawing_area();
    let lengths = points.iter().map(|point| point.operations);
    let longest = lengths.clone().max().unwrap_or(1_000).max(10_000);
    let shortest = lengths.min().unwrap_or(1_000);
    let lines: [(&str, RGBColor, Cost); 3] = [
        ("reading the file", RGBColor(31, 119, 180), |point| {
            (!point.streamed).then_some(point.measured.load)
        }),
        ("checking", RGBColor(214, 39, 40), |point| {
            (!point.streamed).then_some(point.measured.wall)
        }),
        ("both, while it streams in", RGBColor(44, 160, 44), |point| {
            point.streamed.then_some(point.measured.wall)
        }),
    ];
    let costs = || {
        points
            .iter()
            .flat_map(|point| lines.iter().filter_map(|(_, _, cost)| cost(point)))
    };
    let (least, most) = (costs().fold(f64::MAX, f64::min), costs().fold(0.0, f64::max));
    let draw = || {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "Seconds to read and to check a history, by its length",
                ("sans-serif", 20),
            )
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(70)
            .build_cartesian_2d(
                (shortest as f64..longest as f64).log_scale(),
                (least / 2.0..most * 2.0).log_scale(),
            )?;
        chart
            .configure_mesh()
            .x_desc("operations")
            .y_desc("seconds")
            .x_label_formatter(&|operations| format!("10^{:.0}", operations.log10()))
            .y_label_formatter(&|seconds| format!("{seconds:.0e}"))
            .draw()?;
        for (name, color, cost) in lines {
            let line: Vec<(f64, f64)> = points
                .iter()
                .filter_map(|point| Some((point.operations as f64, cost(point)?)))
                .collect();
            chart
                .draw_series(LineSeries::new(line.clone(), color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color.stroke_width(2)));
            chart.draw_series(
                line.into_iter()
                    .map(|point| Circle::new(point, 4, color.filled())),
            )?;
        }
        let linear = [
            (shortest as f64, least),
            (longest as f64, least * longest as f64 / shortest as f64),
        ];
        chart
            .draw_series(DashedLineSeries::new(linear, 4, 4, BLACK.mix(0.5).into()))?
            .label("linear growth")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], BLACK.mix(0.5)));
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .position(SeriesLabelPosition::UpperLeft)
            .draw()?;
        area.present()
    };
    draw().map_err(|problem| io::Error::other(problem.to_string()))
}
