//! The customers that the demo is about: the n-th is always the same, so that nobody has to remember what was written.

use serde::Serialize;

/// The columns, in the order of the file.
pub const COLUMNS: [&str; 6] = [
    "id",
    "first_name",
    "last_name",
    "email",
    "gender",
    "ip_address",
];

/// What makes the customers these and no others.
const SEED: u64 = 0x6b69_6e65_7369_7321;

/// What customers are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gender {
    Female,
    Male,
    NonBinary,
}

impl Gender {
    pub const ALL: [Gender; 3] = [Gender::Female, Gender::Male, Gender::NonBinary];

    /// As it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Gender::Female => "Female",
            Gender::Male => "Male",
            Gender::NonBinary => "Non-binary",
        }
    }
}

/// One customer; the fields are the columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Customer {
    id: String,
    first_name: &'static str,
    last_name: &'static str,
    email: String,
    gender: &'static str,
    ip_address: String,
}

impl Customer {
    /// The customer with that number, and the gender in a form that can be counted.
    pub fn nth(id: u64) -> (Customer, Gender) {
        let mut random = fastrand::Rng::with_seed(SEED ^ id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let gender = match random.u8(0..100) {
            0..49 => Gender::Female,
            49..97 => Gender::Male,
            _ => Gender::NonBinary,
        };
        let first_names = match gender {
            Gender::Female => FEMALE,
            Gender::Male => MALE,
            Gender::NonBinary => [FEMALE, MALE][random.usize(0..2)],
        };
        let first_name = first_names[random.usize(0..first_names.len())];
        let last_name = LAST[random.usize(0..LAST.len())];
        // Networks and domains that are kept for examples: RFC 5737, RFC 2606.
        let network = ["192.0.2", "198.51.100", "203.0.113"][random.usize(0..3)];
        let domain = ["example.com", "example.net", "example.org"][random.usize(0..3)];
        let handle = |name: &str| {
            let letters = name.chars().filter(|c| c.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect::<String>()
        };
        let customer = Customer {
            email: format!("{}.{}@{domain}", handle(first_name), handle(last_name)),
            id: id.to_string(),
            first_name,
            last_name,
            gender: gender.name(),
            ip_address: format!("{network}.{}", random.u8(1..255)),
        };
        (customer, gender)
    }

    /// Appends the line of the file, newline included. No value holds a comma or a quote.
    pub fn push_csv(&self, to: &mut Vec<u8>) {
        let columns = [
            self.id.as_str(),
            self.first_name,
            self.last_name,
            &self.email,
            self.gender,
            &self.ip_address,
        ];
        for (place, column) in columns.into_iter().enumerate() {
            if place > 0 {
                to.push(b',');
            }
            to.extend_from_slice(column.as_bytes());
        }
        to.push(b'\n');
    }

    /// The record that must arrive, newline included: made by serde_json, which the agent's own conversion doesn't use.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("texts always become JSON");
        json.push(b'\n');
        json
    }
}

const FEMALE: &[&str] = &[
    "Aisha",
    "Amélie",
    "Ana",
    "Anne-Marie",
    "Chloé",
    "Daria",
    "Elif",
    "Emma",
    "Fatima",
    "Grace",
    "Hanna",
    "Ingrid",
    "Jana",
    "Keiko",
    "Leila",
    "Lucía",
    "Mei",
    "Nia",
    "Olivia",
    "Priya",
    "Rosa",
    "Siobhán",
    "Sofia",
    "Thảo",
    "Ursula",
    "Valentina",
    "Wanjiru",
    "Yasmin",
    "Zoë",
    "Zsófia",
];

const MALE: &[&str] = &[
    "Ahmed", "Anders", "Arjun", "Björn", "Carlos", "David", "Diego", "Emeka", "Félix", "Giovanni",
    "Hiroshi", "Ivan", "Jakub", "José", "Kwame", "Liam", "Lukas", "Mateo", "Minh", "Noah", "Omar",
    "Pavel", "Quentin", "Rafael", "Søren", "Thomas", "Uri", "Viktor", "Wei", "Youssef",
];

const LAST: &[&str] = &[
    "Abebe",
    "Almeida",
    "Andersson",
    "Bauer",
    "Costa",
    "D'Angelo",
    "Dvořák",
    "Eze",
    "Fernández",
    "Fischer",
    "García",
    "Haddad",
    "Hansen",
    "Ito",
    "Jensen",
    "Kaya",
    "Kim",
    "Kowalski",
    "Lefèvre",
    "López",
    "Martin",
    "Müller",
    "Nakamura",
    "Nguyễn",
    "Novák",
    "O'Brien",
    "Okafor",
    "Patel",
    "Rossi",
    "Schmidt",
    "Silva",
    "Singh",
    "Smith",
    "Tanaka",
    "van Dijk",
    "Wang",
    "Weber",
    "Wójcik",
    "Yılmaz",
    "Zhang",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_its_record_say_the_same() {
        for id in 1..=2000 {
            let (customer, gender) = Customer::nth(id);
            assert_eq!((customer.clone(), gender), Customer::nth(id));
            let mut line = Vec::new();
            customer.push_csv(&mut line);
            let line = String::from_utf8(line).unwrap();
            let values: Vec<&str> = line.trim_end().split(',').collect();
            let record: serde_json::Map<String, serde_json::Value> =
                serde_json::from_slice(&customer.to_json()).unwrap();
            let (names, texts): (Vec<_>, Vec<_>) = record
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .unzip();
            assert_eq!(names, COLUMNS);
            assert_eq!(texts, values, "{line}");
            assert_eq!(texts[4], gender.name());
            assert!(!line.contains(['"', '\\']), "{line}");
        }
    }

    #[test]
    fn genders_have_plausible_shares() {
        let mut counts = [0; 3];
        for id in 1..=10_000 {
            counts[Customer::nth(id).1 as usize] += 1;
        }
        for (count, range) in counts.into_iter().zip([4600..5200, 4500..5100, 200..400]) {
            assert!(range.contains(&count), "{counts:?}");
        }
    }
}
