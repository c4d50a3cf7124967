package keys

import (
	"crypto/rsa"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"sync"

	"chancery/internal/failure"
)

const (
	minModulus   = 2048 // bits
	maxModulus   = 8192 // bits
	minExponent  = 65537
	maxExponent  = math.MaxInt32
	maxFactor    = 751 // the greatest prime that trial division tries
	fermatRounds = 100
)

func isAllowedSize(bits int) bool {
	return bits >= minModulus && bits <= maxModulus && bits%8 == 0
}

func checkRSA(key *rsa.PublicKey) error {
	if key.N == nil || key.N.Sign() <= 0 {
		return failure.New(failure.BadKey, "the RSA key has no positive modulus")
	}
	if size := key.N.BitLen(); !isAllowedSize(size) {
		return failure.New(failure.BadKey, "the RSA key has %d bits; allowed are %d to %d in steps of 8", size, minModulus, maxModulus)
	}
	if key.E < minExponent || key.E > maxExponent || key.E%2 == 0 {
		return failure.New(failure.BadKey, "the RSA key has the exponent %d; allowed are odd ones from %d to %d; 65537 is usual", key.E, minExponent, maxExponent)
	}
	if key.N.Bit(0) == 0 {
		return failure.New(failure.BadKey, "the RSA key's modulus is even; make a new key")
	}
	residues := oddPrimes().residues(key.N)
	switch {
	case slices.Contains(residues, 0):
		return failure.New(failure.BadKey, "the RSA key's modulus has a small prime factor; make a new key")
	case isROCA(residues):
		return failure.New(failure.BadKey, "the RSA key comes from a generator whose keys can be factored (ROCA, CVE-2017-15361); make a new key with other software or hardware")
	case hasClosePrimes(key.N):
		return failure.New(failure.BadKey, "the RSA key's primes are so close to each other that it can be factored; make a new key with other software")
	}
	return nil
}

// primeGroups holds the odd primes up to maxFactor in ascending order, in
// groups whose product fits a machine word, so that a modulus is divided once
// for each group.
type primeGroups []primeGroup

type primeGroup struct {
	product uint
	primes  []uint
}

var oddPrimes = sync.OnceValue(func() (groups primeGroups) {
	group := primeGroup{product: 1}
	for n := uint(3); n <= maxFactor; n += 2 {
		if !big.NewInt(int64(n)).ProbablyPrime(0) { // exact below 2⁶⁴
			continue
		}
		if group.product > math.MaxUint/n {
			groups = append(groups, group)
			group = primeGroup{product: 1}
		}
		group.product *= n
		group.primes = append(group.primes, n)
	}
	return append(groups, group)
})

// residues are the remainders of n > 0 divided by each prime, in order.
func (g primeGroups) residues(n *big.Int) []uint {
	out := make([]uint, 0, maxFactor/5)
	for _, group := range g {
		rest := uint(0)
		for _, word := range slices.Backward(n.Bits()) {
			_, rest = bits.Div(rest, uint(word), group.product)
		}
		for _, prime := range group.primes {
			out = append(out, rest%prime)
		}
	}
	return out
}

// subgroup is the subgroup of the multiplicative group modulo a prime that
// 65537 generates, with the logarithm of each member.
type subgroup struct {
	order uint
	log   map[uint]uint
}

// rocaSubgroups holds the subgroups for the odd primes up to 167. Their
// product divides the number M of every size of key that the generator makes.
var rocaSubgroups = sync.OnceValue(func() (groups []subgroup) {
	for _, group := range oddPrimes() {
		for _, prime := range group.primes {
			if prime > 167 {
				return groups
			}
			sub := subgroup{log: make(map[uint]uint)}
			for x := uint(1); sub.order == 0 || x != 1; x = x * 65537 % prime {
				sub.log[x] = sub.order
				sub.order++
			}
			groups = append(groups, sub)
		}
	}
	return groups
})

// isROCA reports whether a modulus, given by its residues, is the product of
// two primes of the form k·M + (65537^a mod M), M a product of small primes
// (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017, §2). Such a
// modulus is itself a power of 65537 modulo M: it has a logarithm modulo each
// small prime, and by the Chinese remainder theorem they are those of one
// number if they agree pairwise. A good key passes for bad once in 2¹⁵⁴.
func isROCA(residues []uint) bool {
	groups := rocaSubgroups()
	logs := make([]uint, len(groups))
	for i, group := range groups {
		log, ok := group.log[residues[i]]
		if !ok {
			return false
		}
		for j := range i {
			common := gcd(group.order, groups[j].order)
			if log%common != logs[j]%common {
				return false
			}
		}
		logs[i] = log
	}
	return true
}

func gcd(a, b uint) uint {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// squareModuli are coprime in pairs, and their product is below 2⁵⁷.
var squareModuli = [...]uint64{64, 63, 55, 61, 59, 53, 47, 43, 41, 37}

// squareTable holds the product of squareModuli, and for each of them the set
// of residues that squares have, as bits.
type squareTable struct {
	product uint64
	sets    [len(squareModuli)]uint64
}

var squares = sync.OnceValue(func() *squareTable {
	table := &squareTable{product: 1}
	for i, m := range squareModuli {
		table.product *= m
		for x := range m {
			table.sets[i] |= 1 << (x * x % m)
		}
	}
	return table
})

// canBeSquare reports whether a number with this residue modulo the product
// can be a square: of all numbers about 1 in 8,000 passes.
func (t *squareTable) canBeSquare(residue uint64) bool {
	for i, m := range squareModuli {
		if t.sets[i]>>(residue%m)&1 == 0 {
			return false
		}
	}
	return true
}

// hasClosePrimes looks for n = (a−b)·(a+b) with a near √n (Fermat's
// factorisation). It asks for each a whether a²−n is a square, and answers
// most often from residues alone.
func hasClosePrimes(n *big.Int) bool {
	table := squares()
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, big.NewInt(1))
	}
	modulus := new(big.Int).SetUint64(table.product)
	rest := new(big.Int).Mul(a, a)
	rest.Sub(rest, n).Mod(rest, modulus)
	b2, a0 := rest.Uint64(), rest.Mod(a, modulus).Uint64()
	for range fermatRounds {
		if table.canBeSquare(b2) && isSquareAbove(a, n) {
			return true
		}
		b2 = (b2 + 2*a0 + 1) % table.product // (a+1)² = a² + 2a + 1
		a0 = (a0 + 1) % table.product
		a.Add(a, big.NewInt(1))
	}
	return false
}

// isSquareAbove reports whether a²−n is a square.
func isSquareAbove(a, n *big.Int) bool {
	b2 := new(big.Int).Mul(a, a)
	b2.Sub(b2, n)
	b := new(big.Int).Sqrt(b2)
	return b.Mul(b, b).Cmp(b2) == 0
}
