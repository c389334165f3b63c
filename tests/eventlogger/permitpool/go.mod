module github.com/hashicorp/go-secure-stdlib/permitpool

go 1.21
