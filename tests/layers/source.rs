//! The modules of one crate, read from its source as text: what each defines, imports and refers to. Code under
//! `#[cfg(test)]` is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::token::{
    Token::{self, Colons, Symbol, Word},
    tokens,
};

/// `["crate", "socket", "tcp"]`
pub(crate) type ModulePath = Vec<String>;

/// A `use` of one name, or of all names of a module.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) path: ModulePath,
    /// `None` for `*`.
    pub(crate) name: Option<String>,
}

/// What one module contains.
#[derive(Clone, Debug, Default)]
pub(crate) struct Module {
    pub(crate) children: BTreeSet<String>,
    pub(crate) imports: Vec<Import>,
    /// Paths in code, as written.
    pub(crate) paths: BTreeSet<ModulePath>,
    /// Structs, enums, unions, traits and type aliases.
    pub(crate) types: Vec<String>,
    /// Every item of the module, types among them.
    pub(crate) items: BTreeSet<String>,
    /// Whether it has more than declarations of modules and `use`.
    pub(crate) has_code: bool,
}

/// All modules of a crate.
#[derive(Debug, Default)]
pub(crate) struct Source(pub(crate) BTreeMap<ModulePath, Module>);

/// The Rust files below a directory, by their paths there.
pub(crate) fn files(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let place = path.strip_prefix(directory).expect("below it").to_owned();
                files.insert(place, fs::read_to_string(&path).expect("UTF-8"));
            }
        }
    }
    files
}

impl Source {
    /// Reads the files below the `src` directory of a crate.
    pub(crate) fn read(directory: &Path) -> Self {
        Self::parse(&files(directory))
    }

    /// Reads files that are given by their paths below `src`. Roots are `lib.rs` and `main.rs`: both are `crate`.
    pub(crate) fn parse(files: &BTreeMap<PathBuf, String>) -> Self {
        let mut source = Self::default();
        for root in ["main.rs", "lib.rs"] {
            if let Some(text) = files.get(Path::new(root)) {
                source.file(files, text, &["crate".to_owned()], Path::new(""));
            }
        }
        source
    }

    fn file(
        &mut self,
        files: &BTreeMap<PathBuf, String>,
        text: &str,
        path: &[String],
        directory: &Path,
    ) {
        let mut reader = Reader {
            tokens: tokens(text),
            at: 0,
            scopes: vec![Scope::Module(path.to_vec())],
            modules: &mut self.0,
            files: Vec::new(),
        };
        reader.read();
        for child in reader.files {
            let below = child[path.len()..]
                .iter()
                .fold(directory.to_owned(), |p, name| p.join(name));
            for place in [below.with_extension("rs"), below.join("mod.rs")] {
                if let Some(text) = files.get(&place) {
                    self.file(files, text, &child, &below);
                }
            }
        }
    }
}

enum Scope {
    Module(ModulePath),
    /// Braces of anything else.
    Block,
}

/// Goes through the tokens of one file.
struct Reader<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    scopes: Vec<Scope>,
    modules: &'a mut BTreeMap<ModulePath, Module>,
    /// Modules that have a file of their own.
    files: Vec<ModulePath>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) {
        self.module();
        while let Some(token) = self.peek(0) {
            match (token, self.peek(1)) {
                (Symbol('#'), _) => self.attribute(),
                (Word("mod"), Some(Word(name))) => self.child(name),
                (Word("use"), Some(Word(_) | Colons | Symbol('{'))) => {
                    self.at += 1;
                    self.import(&[]);
                }
                (Word("pub"), next) => {
                    self.at += 1;
                    if next == Some(Symbol('(')) {
                        self.at = self.after_group();
                    }
                }
                (Word(keyword), Some(Word(name))) if is_definition(keyword) => {
                    self.define(keyword, name);
                }
                (Word(_) | Colons, _) => self.path(),
                (Symbol('{'), _) => self.enter(Scope::Block),
                (Symbol('}'), _) => {
                    self.at += 1;
                    if self.scopes.len() > 1 {
                        self.scopes.pop();
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn module_path(&self) -> &ModulePath {
        let module = self.scopes.iter().rev().find_map(|scope| match scope {
            Scope::Module(path) => Some(path),
            Scope::Block => None,
        });
        module.expect("the first scope is the file's module")
    }

    fn module(&mut self) -> &mut Module {
        let path = self.module_path().clone();
        self.modules.entry(path).or_default()
    }

    fn enter(&mut self, scope: Scope) {
        self.at += 1;
        self.scopes.push(scope);
        self.module();
    }

    /// `#[...]`: what it refers to counts, unless it is `#[cfg(test)]`, which takes its item away.
    fn attribute(&mut self) {
        let inner = self.peek(1) == Some(Symbol('!'));
        self.at += 1 + usize::from(inner);
        if self.peek(0) != Some(Symbol('[')) {
            return;
        }
        let end = self.after_group();
        let has = |word| self.tokens[self.at..end].contains(&Word(word));
        if self.peek(1) == Some(Word("cfg")) && has("test") && !has("not") {
            self.at = if inner { self.tokens.len() } else { end };
            self.skip_item();
            return;
        }
        while self.at < end {
            match self.peek(0) {
                Some(Word(_) | Colons) => self.path(),
                _ => self.at += 1,
            }
        }
    }

    /// The place behind the bracket that closes the one here.
    fn after_group(&self) -> usize {
        let mut depth = 0;
        for (place, token) in self.tokens.iter().enumerate().skip(self.at) {
            match token {
                Symbol('(' | '[' | '{') => depth += 1,
                Symbol(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return place + 1;
            }
        }
        self.tokens.len()
    }

    /// Passes an item, a statement, a field or an arm.
    fn skip_item(&mut self) {
        let mut is_item = false;
        while let Some(token) = self.peek(0) {
            match token {
                Symbol(';') => break,
                Symbol(',') if !is_item => break,
                Symbol('{') => {
                    self.at = self.after_group();
                    return;
                }
                Symbol('(' | '[') => {
                    self.at = self.after_group();
                    continue;
                }
                Symbol(')' | ']' | '}') => return,
                Word(word) => is_item |= is_definition(word) || word == "impl" || word == "use",
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
    }

    /// `mod name;` or `mod name {`
    fn child(&mut self, name: &str) {
        let mut path = self.module_path().clone();
        path.push(name.to_owned());
        self.module().children.insert(name.to_owned());
        self.at += 2;
        if self.peek(0) == Some(Symbol('{')) {
            self.enter(Scope::Module(path));
        } else {
            self.files.push(path);
        }
    }

    /// One tree of a `use`, below `prefix`.
    fn import(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            let token = self.peek(0);
            self.at += 1;
            match token {
                Some(Word("self")) if !path.is_empty() => {}
                Some(Word("as")) => {
                    let name = match self.peek(0) {
                        Some(Word(name)) => Some(name.to_owned()),
                        _ => None,
                    };
                    self.at += 1;
                    return self.module().imports.push(Import { path, name });
                }
                Some(Word(name)) => path.push(name.to_owned()),
                Some(Colons) => {}
                Some(Symbol('*')) => {
                    return self.module().imports.push(Import { path, name: None });
                }
                Some(Symbol('{')) => return self.import_group(&path),
                _ => {
                    self.at -= 1;
                    let name = path.last().cloned();
                    return self.module().imports.push(Import { path, name });
                }
            }
        }
    }

    fn import_group(&mut self, prefix: &[String]) {
        loop {
            match self.peek(0) {
                Some(Symbol(',')) => self.at += 1,
                Some(Symbol('}')) | None => break,
                _ => self.import(prefix),
            }
        }
        self.at += 1;
    }

    fn define(&mut self, keyword: &str, name: &str) {
        self.at += 1;
        let in_module = matches!(self.scopes.last(), Some(Scope::Module(_)));
        let is_type = match keyword {
            "struct" | "enum" | "trait" => true,
            // Elsewhere it is an associated type, or a variable of this name.
            "type" | "union" => in_module,
            _ => false,
        };
        let module = self.module();
        if in_module && !is_definition(name) {
            module.items.insert(name.to_owned());
            module.has_code = true;
        }
        if is_type {
            module.types.push(name.to_owned());
        }
        self.at += usize::from(!is_definition(name));
    }

    /// A path of several words is recorded; a single word says nothing about modules.
    fn path(&mut self) {
        let mut path = Vec::new();
        let absolute = self.peek(0) == Some(Colons);
        self.at += usize::from(absolute);
        while let Some(Word(word)) = self.peek(0) {
            path.push(word.to_owned());
            self.at += 1;
            if (self.peek(0), self.peek(1).map(is_word)) != (Some(Colons), Some(true)) {
                break;
            }
            self.at += 1;
        }
        let module = self.module();
        module.has_code = true;
        if !absolute && path.len() > 1 {
            module.paths.insert(path);
        }
    }
}

fn is_word(token: Token) -> bool {
    matches!(token, Word(_))
}

/// Keywords that stand before the name of what they define.
fn is_definition(word: &str) -> bool {
    [
        "struct", "enum", "union", "trait", "type", "fn", "const", "static", "mod",
    ]
    .contains(&word)
}
