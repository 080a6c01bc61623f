//! Takes a picture of the upper part of a page, for README and docs:
//!
//! ```text
//! cargo run -p browser --example picture -- store/latest/report.html out.png 1100 1120
//! ```

use std::path::Path;

use browser::Browser;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [page, picture, width, height] = arguments.as_slice() else {
        eprintln!("picture: wanted are a page, a file to write, width and height in pixels");
        std::process::exit(254);
    };
    let (Ok(width), Ok(height)) = (width.parse(), height.parse()) else {
        eprintln!("picture: width and height are whole numbers, not {width} and {height}");
        std::process::exit(254);
    };
    let Some(browser) = Browser::start() else {
        std::process::exit(255)
    };
    browser.room(width, height);
    browser.open_file(Path::new(page));
    let size = browser.picture_of(Path::new(picture), width, height);
    println!("{picture}: {size} bytes");
}
