//! The companies of the demo: invented names under the reserved `.example`, and what is known of them.

use serde::Serialize;

use super::random::Random;

const FIRST: [&str; 28] = [
    "amber", "birch", "bright", "cobalt", "coral", "dawn", "ember", "fern", "flint", "frost", "gale", "hazel",
    "indigo", "juniper", "larch", "lumen", "maple", "marble", "north", "onyx", "opal", "quartz", "river", "sable",
    "silver", "slate", "tidal", "willow",
];
const SECOND: [&str; 24] = [
    "anchor", "bridge", "cargo", "circuit", "credit", "field", "forge", "freight", "grid", "harbor", "health",
    "lantern", "ledger", "logic", "market", "metrics", "path", "pay", "point", "scale", "stack", "trade", "vault",
    "works",
];
const INDUSTRIES: [&str; 4] = ["software", "fintech", "ecommerce", "business_services"];
const OTHER_INDUSTRIES: [&str; 5] = ["agriculture", "construction", "education", "hospitality", "public_sector"];
const COUNTRIES: [&str; 6] = ["US", "GB", "DE", "NL", "FR", "CA"];
const OTHER_COUNTRIES: [&str; 4] = ["BR", "IN", "JP", "ZA"];
const TECHNOLOGIES: [&str; 5] = ["salesforce", "hubspot", "snowflake", "segment", "kafka"];
const COMPETITORS: [&str; 2] = ["competitor-one", "competitor-two"];

/// What a company does in the demo.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Goes on a journey from time to time, and looks around now and then.
    Buyer,
    /// Reads all about prices and comparisons, and is suppressed.
    Competitor,
    /// A machine that reads page after page.
    Crawler,
}

/// One company.
#[derive(Clone, Debug)]
pub struct Company {
    /// Its domain, which is also its account id.
    pub account: String,
    pub role: Role,
    /// Whether anybody has researched it yet: if not, its fit is unknown until it buys.
    pub known: bool,
    pub profile: Profile,
}

/// What the account topic says of a company.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    pub name: String,
    pub industry: &'static str,
    pub employees: i64,
    pub country: &'static str,
    pub annual_revenue_usd: i64,
    pub business_model: &'static str,
    pub technologies: Vec<&'static str>,
    pub lifecycle: &'static str,
}

/// `count` companies. The first few are the crawlers and competitors, if there are more than a few.
pub fn found(random: &mut Random, count: usize) -> Vec<Company> {
    let strange = count.min(100) / 25;
    let offset = random.bits() as usize;
    (0..count)
        .map(|at| {
            let role = match at {
                _ if at >= 2 * strange => Role::Buyer,
                _ if at < strange => Role::Crawler,
                _ => Role::Competitor,
            };
            company(random, offset.wrapping_add(at), at, role)
        })
        .collect()
}

fn company(random: &mut Random, draw: usize, at: usize, role: Role) -> Company {
    // Steps that share no factor with the number of names walk through all of them before any recurs.
    let names = FIRST.len() * SECOND.len();
    let draw = (draw % names) * 137 % names;
    let (first, second) = (FIRST[draw / SECOND.len()], SECOND[draw % SECOND.len()]);
    let round = if at < names { String::new() } else { format!("-{}", at / names + 1) };
    let name = format!("{first}{second}{round}");
    let known = role == Role::Competitor || (role == Role::Buyer && random.chance(0.9));
    Company { account: format!("{name}.example"), role, known, profile: profile(random, name, role) }
}

fn profile(random: &mut Random, name: String, role: Role) -> Profile {
    // Most companies that a go-to-market team researches are of the kind that it sells to.
    let ideal = random.chance(0.7);
    let likely = if ideal { 0.95 } else { 0.4 };
    let industries = if random.chance(likely) { &INDUSTRIES[..] } else { &OTHER_INDUSTRIES[..] };
    let countries = if random.chance(likely) { &COUNTRIES[..] } else { &OTHER_COUNTRIES[..] };
    let mut technologies: Vec<_> = TECHNOLOGIES.into_iter().filter(|_| random.chance(likely / 2.0)).collect();
    if random.chance(0.2) {
        technologies.push(random.pick(&COMPETITORS));
    }
    let employees = if random.chance(likely) { random.between(60, 1_900) } else { random.between(2, 45) };
    Profile {
        name,
        industry: random.pick(industries),
        employees,
        country: random.pick(countries),
        annual_revenue_usd: employees * random.between(90, 260) * 1_000,
        business_model: if random.chance(likely) { "b2b" } else { "b2c" },
        technologies,
        lifecycle: if role == Role::Competitor { "competitor" } else { "prospect" },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_company_has_a_name_of_its_own() {
        let companies = found(&mut Random::new(3), 2_000);
        let names: HashSet<_> = companies.iter().map(|company| &company.account).collect();
        assert_eq!(names.len(), companies.len());
        assert!(names.iter().all(|name| name.ends_with(".example")));
        for role in [Role::Crawler, Role::Competitor] {
            assert_eq!(companies.iter().filter(|company| company.role == role).count(), 4);
        }
        assert!(companies.iter().any(|company| company.role == Role::Buyer && !company.known));
    }
}
