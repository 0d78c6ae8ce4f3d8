#!/usr/bin/env perl
# The facts of a checkout: what is checked out, how much there is, of what. Leaves survey.json.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Json;
use Report;

# A language by the end of a file's name. Only the common ones; the rest count as "other".
my %LANGUAGE = (
    (map { $_ => 'C' } qw(c h)), (map { $_ => 'C++' } qw(cc cpp cxx hh hpp)), cs => 'C#', css => 'CSS', (map { $_ => 'Elixir' } qw(ex exs)),
    erl => 'Erlang', go => 'Go', (map { $_ => 'Haskell' } qw(hs)), (map { $_ => 'HCL' } qw(tf tfvars hcl)), (map { $_ => 'HTML' } qw(html htm)),
    java => 'Java', (map { $_ => 'JavaScript' } qw(js jsx mjs cjs)), json => 'JSON', jl => 'Julia', (map { $_ => 'Kotlin' } qw(kt kts)), lua => 'Lua',
    (map { $_ => 'Markdown' } qw(md markdown)), (map { $_ => 'OCaml' } qw(ml mli)), (map { $_ => 'Perl' } qw(pl pm t)), php => 'PHP', (map { $_ => 'Python' } qw(py pyi)),
    (map { $_ => 'R' } qw(r)), rb => 'Ruby', rs => 'Rust', scala => 'Scala', (map { $_ => 'Shell' } qw(sh bash)), sql => 'SQL', swift => 'Swift',
    toml => 'TOML', (map { $_ => 'TypeScript' } qw(ts tsx mts)), (map { $_ => 'YAML' } qw(yaml yml)), zig => 'Zig',
);

my $checkout = Checkout->from_env;
my $head = $checkout->head;
my %survey = (
    head     => $head,
    branch   => $checkout->line('symbolic-ref', '-q', '--short', 'HEAD'),
    shallow  => ($checkout->line('rev-parse', '--is-shallow-repository') || '') eq 'true' ? \1 : \0,
    files    => Json::num(scalar $checkout->entries),
    links    => Json::num(scalar grep { $_->{mode} eq '120000' } $checkout->entries),
    submodules => Json::num(scalar grep { $_->{mode} eq '160000' } $checkout->entries),
);
if (defined $head) {
    $survey{commits} = Json::num($checkout->line('rev-list', '--count', 'HEAD'));
    @survey{qw(committed subject)} = split /\n/, ($checkout->line('log', '-1', '--no-show-signature', '--format=%cI%n%s', 'HEAD') || "\n"), 2;
}

# Files that differ from the index, by size or time of change; those the cage hides are not counted.
my @modified = grep { !/\A:/ && !($checkout->{here} && m{\A\.agent/}) } $checkout->lines('diff-files', '-z', '--ignore-submodules=all');
$survey{modified} = Json::num(scalar @modified);

my (%languages, %bytes);
for my $entry ($checkout->entries) {
    next if $entry->{mode} !~ /\A100/;
    my ($ending) = lc($entry->{path}) =~ m{\.([a-z0-9]+)\z};
    my $language = (defined $ending && $LANGUAGE{$ending}) || 'other';
    $languages{$language}++;
    $bytes{$language} += (lstat "$checkout->{root}/$entry->{path}")[7] || 0;
}
$survey{languages} = [map { {name => $_, files => Json::num($languages{$_}), bytes => Json::num($bytes{$_})} }
    sort { $bytes{$b} <=> $bytes{$a} || $a cmp $b } keys %languages];

Report::artifact('survey.json', Json::encode(\%survey) . "\n");
Report::output({
    head => defined $head ? $head : 'none',
    branch => defined $survey{branch} ? $survey{branch} : 'none',
    files => $survey{files},
    modified => $survey{modified},
});
my @main = map { $_->{name} } grep { $_->{name} ne 'other' } @{$survey{languages}};
splice @main, 3 if @main > 3;
Report::say_line('survey: ' . (defined $head ? 'commit ' . substr($head, 0, 12) : 'no commit yet')
    . (defined $survey{branch} ? " on $survey{branch}" : ', detached')
    . ", ${$survey{files}} tracked files, ${$survey{modified}} modified"
    . (@main ? '; mostly ' . join(', ', @main) : ''));
