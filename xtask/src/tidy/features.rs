//! The matrix and the manifests name the same packages and features.

use crate::matrix::{Features, Row};
use crate::workspace::Package;

/// Each package has a row without features, one per feature alone and one with all; each row names what exists.
pub(super) fn check(packages: &[Package], rows: &[Row]) -> Vec<String> {
    let mut errors = Vec::new();
    for package in packages {
        let has = |wanted: &dyn Fn(Features) -> bool| {
            rows.iter().any(|row| row.package == package.name && wanted(row.features))
        };
        if !has(&|features| features == Features::None) {
            errors.push(format!("the matrix has no row `{}/none`", package.name));
        }
        for feature in &package.features {
            if !has(&|features| matches!(features, Features::Only([only]) if only == feature)) {
                errors.push(format!("the matrix has no row `{}/{feature}`", package.name));
            }
        }
        if !package.features.is_empty() && !has(&|features| features == Features::All) {
            errors.push(format!("the matrix has no row `{}/all`", package.name));
        }
    }
    for (index, row) in rows.iter().enumerate() {
        if rows[..index].contains(row) {
            errors.push(format!("the matrix names `{}` twice", row.name()));
        }
        let Some(package) = packages.iter().find(|package| package.name == row.package) else {
            errors.push(format!("the matrix names `{}`, but there is no such package", row.name()));
            continue;
        };
        let Features::Only(names) = row.features else { continue };
        for name in names {
            if !package.features.iter().any(|feature| feature == name) {
                errors.push(format!(
                    "the matrix names `{}`, but {} has no feature `{name}`",
                    row.name(),
                    package.name
                ));
            }
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{all, none, only};

    fn package(name: &str, features: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            ..Package::default()
        }
    }

    #[test]
    fn agreement_passes() {
        let packages = [package("a", &["x"]), package("b", &[])];
        let rows = [none("a"), only("a", &["x"]), all("a"), none("b")];
        assert_eq!(check(&packages, &rows), [""; 0]);
    }

    #[test]
    fn a_feature_or_package_missing_from_the_matrix_is_named() {
        let packages = [package("a", &["x", "y"]), package("b", &[])];
        let rows = [none("a"), only("a", &["x"]), only("a", &["x", "y"])];
        let errors = check(&packages, &rows).join("\n");
        for missing in ["`a/y`", "`a/all`", "`b/none`"] {
            assert!(errors.contains(missing), "{errors}");
        }
    }

    #[test]
    fn a_name_that_does_not_exist_and_a_row_written_twice_are_named() {
        let packages = [package("a", &[])];
        let rows = [none("a"), none("a"), only("a", &["gone"]), none("c")];
        let errors = check(&packages, &rows).join("\n");
        for wrong in ["no feature `gone`", "`c/none`, but there is no such package", "`a/none` twice"] {
            assert!(errors.contains(wrong), "{errors}");
        }
    }
}
