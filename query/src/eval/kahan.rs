//! Neumaier's compensated summation, as Prometheus sums.

/// A sum and the low-order bits it lost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) lost: f64,
}

impl Kahan {
    pub(crate) fn new(sum: f64) -> Self {
        Kahan { sum, lost: 0.0 }
    }

    pub(crate) fn add(&mut self, inc: f64) {
        let t = self.sum + inc;
        if t.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= inc.abs() {
            self.lost += (self.sum - t) + inc;
        } else {
            self.lost += (inc - t) + self.sum;
        }
        self.sum = t;
    }

    pub(crate) fn value(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.lost
        }
    }
}

/// A mean that is a plain compensated sum until that would overflow, and incremental from then on.
/// Source: prometheus promql/functions.go, avg_over_time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    count: f64,
    sum: Kahan,
    incremental: bool,
    mean: Kahan,
}

impl Mean {
    pub(crate) fn new(first: f64) -> Self {
        Mean {
            count: 1.0,
            sum: Kahan::new(first),
            incremental: false,
            mean: Kahan::default(),
        }
    }

    pub(crate) fn add(&mut self, v: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(v);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.mean = Kahan {
                sum: self.sum.sum / before,
                lost: self.sum.lost / before,
            };
        }
        let q = (self.count - 1.0) / self.count;
        let mut next = Kahan {
            sum: q * self.mean.sum,
            lost: q * self.mean.lost,
        };
        next.add(v / self.count);
        self.mean = next;
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            self.mean.sum + self.mean.lost
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut k = Kahan::default();
        for v in [2.0, 8.0, 1e100, -1e100] {
            k.add(v);
        }
        assert_eq!(k.value(), 10.0);
    }

    #[test]
    fn a_mean_does_not_overflow() {
        let mut m = Mean::new(1.7e308);
        m.add(1.7e308);
        assert_eq!(m.value(), 1.7e308);
    }
}
