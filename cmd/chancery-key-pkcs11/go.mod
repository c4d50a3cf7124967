module chancery/cmd/chancery-key-pkcs11

go 1.26.0

require (
	chancery v0.0.0
	github.com/miekg/pkcs11 v1.1.2
)

replace chancery => ../..
