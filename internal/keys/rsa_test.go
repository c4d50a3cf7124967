package keys

import (
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"testing"
)

// oddPrime is the first prime from n on.
func oddPrime(n *big.Int) *big.Int {
	p := new(big.Int).SetBit(n, 0, 1)
	for !p.ProbablyPrime(10) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

func randomBits(t testing.TB, bits int) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	if err != nil {
		t.Fatal(err)
	}
	return n.SetBit(n, bits-1, 1).SetBit(n, bits-2, 1)
}

// rocaPrime makes a prime of 1,024 bits as the generator of CVE-2017-15361
// does, with the product of the first 126 primes for M.
func rocaPrime(t testing.TB) *big.Int {
	m := big.NewInt(2)
	for n := int64(3); n <= 701; n += 2 {
		if p := big.NewInt(n); p.ProbablyPrime(0) {
			m.Mul(m, p)
		}
	}
	for {
		k := randomBits(t, 1024)
		k.Div(k, m)
		p := new(big.Int).Exp(big.NewInt(65537), randomBits(t, 200), m)
		if p.Add(p, k.Mul(k, m)).ProbablyPrime(10) {
			return p
		}
	}
}

func TestROCA(t *testing.T) {
	for range 3 {
		n := new(big.Int).Mul(rocaPrime(t), rocaPrime(t))
		wantBad(t, &rsa.PublicKey{N: n, E: 65537}, "ROCA")
	}
}

// Each residue of this modulus is a power of 65537, but not the same one.
func TestROCANeedsOneLogarithm(t *testing.T) {
	groups := rocaSubgroups()
	residues := make([]uint, len(groups))
	for i, group := range groups {
		for x, log := range group.log {
			if log == uint(i)%group.order {
				residues[i] = x
			}
		}
	}
	if isROCA(residues) {
		t.Error("residues with different logarithms pass for those of one power of 65537")
	}
}

func TestClosePrimes(t *testing.T) {
	p := oddPrime(randomBits(t, 1024))
	for _, distance := range []*big.Int{
		big.NewInt(0),
		big.NewInt(2),
		new(big.Int).Lsh(big.NewInt(1), 500),
	} {
		q := new(big.Int).Set(p)
		if distance.Sign() > 0 {
			q = oddPrime(q.Add(q, distance))
		}
		wantBad(t, &rsa.PublicKey{N: q.Mul(q, p), E: 65537}, "close to each other")
	}
	far := oddPrime(new(big.Int).Add(p, new(big.Int).Lsh(big.NewInt(1), 600)))
	if hasClosePrimes(far.Mul(far, p)) {
		t.Error("primes 2⁶⁰⁰ apart pass for close ones")
	}
}

// The last of the rounds must still see a²−n.
func TestClosePrimesLastRound(t *testing.T) {
	a := new(big.Int).Lsh(big.NewInt(1), 1023)
	b := new(big.Int).Sqrt(new(big.Int).Lsh(big.NewInt(2*(fermatRounds-1)), 1023))
	n := new(big.Int).Mul(new(big.Int).Sub(a, b), new(big.Int).Add(a, b))
	first := new(big.Int).Sqrt(n)
	if rounds := first.Sub(a, first).Int64(); rounds != fermatRounds-1 && rounds != fermatRounds {
		t.Fatalf("the square is found in round %d, not in one of the last", rounds)
	}
	if !hasClosePrimes(n) {
		t.Error("a difference within reach of the rounds was not found")
	}
}

func TestSmallFactors(t *testing.T) {
	for _, factor := range []int64{3, 5, 17, 167, 743, 751} {
		n := randomBits(t, 2048)
		n.Sub(n, new(big.Int).Mod(n, big.NewInt(2*factor))).Add(n, big.NewInt(factor))
		wantBad(t, &rsa.PublicKey{N: n, E: 65537}, "small prime factor")
	}
}

func TestOddPrimes(t *testing.T) {
	count, product := 0, big.NewInt(1)
	for _, group := range oddPrimes() {
		for _, p := range group.primes {
			count++
			product.Mul(product, new(big.Int).SetUint64(uint64(p)))
		}
	}
	if count != 132 { // π(751) = 133, without 2
		t.Errorf("%d odd primes up to 751, want 132", count)
	}
	n := randomBits(t, 2048)
	i := 0
	for _, group := range oddPrimes() {
		for _, p := range group.primes {
			want := new(big.Int).Mod(n, new(big.Int).SetUint64(uint64(p))).Uint64()
			if got := oddPrimes().residues(n)[i]; uint64(got) != want {
				t.Fatalf("%v mod %d = %d, want %d", n, p, got, want)
			}
			i++
		}
	}
}
