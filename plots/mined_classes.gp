# Redraw with `gnuplot mined_classes.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_classes.tsv'
headroom = 66
height = 520
rows = key_classes.' window'
count_once(l) = (title_text = strcol('title'), strcol('curve') eq 'mass' && strcol('key') eq 'window' ? count_head(place(head_classes, strcol('class'))) : 0)
stats data using (count_once(0)) nooutput
row(o) = strcol('origin') eq o && (strcol('key') ne 'window' || o eq 'generated') ? -place(rows, strcol('key')) + (o eq 'prompt' ? 0.2 : strcol('key') eq 'window' ? 0 : -0.2) : NaN
all(c, o) = strcol('curve') eq c && strcol('class') eq 'all' ? row(o) : NaN
head(c, o, i) = strcol('curve') eq c && strcol('class') eq word(head_classes, i) ? row(o) + 0.10 * (int(column('head')) % 5 - 2) / 2.0 : NaN
tint(o) = o eq 'prompt' ? '#8fb8de' : '#c9c9c9'
do for [t in 'svg png'] {
    eval open(t, 'mined_classes')
    set style fill solid noborder
    set grid xtics noytics
    do for [k = 1:2] {
        eval panel(2, k)
        set lmargin at screen (k == 1 ? 0.1 : 0.55)
        set rmargin at screen (k == 1 ? 0.525 : 0.975)
        what = word('tokens mass', k)
        set title (k == 1 ? 'share of all keys' : 'share of all attention') offset 0, -0.6
        set yrange [-8.5 : -0.5]
        set xrange [-0.004 : *]
        set xtics nomirror auto
        set ytics scale 0 ('window' -8)
        do for [r = 1:7] { set ytics add (word(rows, r) -r) }
        if (k == 2) { unset ytics }
        plot data using (what eq 'mass' && strcol('class') eq 'all' && strcol('key') eq 'window' ? column('mean') / 2 : NaN):(-8):(0):'mean':(-8.2):(-7.8) \
                with boxxyerror lc rgb '#f0e68c', \
            for [o in 'prompt generated'] data using (all(what, o) > -8 ? column('mean') / 2 : NaN):(all(what, o)):(0):'mean': \
                (all(what, o) - 0.19):(all(what, o) + 0.19) with boxxyerror lc rgb tint(o), \
            for [i = 1:4] for [o in 'prompt generated'] data using 'mean':(head(what, o, i)) with points pt 7 ps 0.28 lc rgb head_colour(i), \
            for [o in 'prompt generated'] data using 'mean':(all(what, o)):'lo':'hi' with xerrorbars lw 1.8 pt 7 ps 0.4 lc rgb style_mean
        unset label 99
    }
    heads_points = "for [i = 1:4] NaN with points pt 7 ps 0.5 lc rgb head_colour(i) title (heads_of[i] ? sprintf('%s heads (%d)', word(head_classes, i), heads_of[i]) : '')"
    eval legend("for [o in 'prompt generated'] NaN with boxes lc rgb tint(o) title (o eq 'prompt' ? 'of the prompt' : 'of the answer'), ".heads_points.', '.mean_legend)
    eval close
}
